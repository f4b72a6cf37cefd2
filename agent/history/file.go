package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/bits"
	"net/netip"
	"os"
	"time"

	"github.com/penstock-lb/penstock/agent/replace"
	"github.com/penstock-lb/penstock/maps/chain"
)

const (
	version = 1
	// maxFile is above what maxEndpoints take, in bytes.
	maxFile = 512 << 20
	// fresh is how old the time of the last look in the file may get.
	fresh = 30 * time.Second
	// Files from large on, in bytes, are written in at most a twentieth of the time.
	large, share = 256 << 10, 20
)

// The file, in JSON. Times are in UTC, of this node's clock.
type document struct {
	Version  int                        `json:"version"`
	Last     time.Time                  `json:"last"`
	Changed  time.Time                  `json:"changed"`
	Tunnels  map[netip.Addr]time.Time   `json:"tunnels,omitempty"`
	Services map[string]documentService `json:"services"`
}

type documentService struct {
	Rows      uint32                              `json:"rows,omitempty"`
	Sizes     []documentSize                      `json:"sizes,omitempty"`
	Endpoints map[netip.AddrPort]documentEndpoint `json:"endpoints,omitempty"`
}

type documentSize struct {
	Rows  uint32    `json:"rows"`
	Until time.Time `json:"until"`
}

type documentEndpoint struct {
	Born   time.Time        `json:"born,omitzero"`
	Weight uint32           `json:"weight"`
	Former []documentWeight `json:"former,omitempty"`
	Taking bool             `json:"taking,omitempty"`
	Since  time.Time        `json:"since,omitzero"`
	Gone   time.Time        `json:"gone,omitzero"`
}

type documentWeight struct {
	Weight uint32    `json:"weight"`
	Until  time.Time `json:"until"`
}

// Open returns a History with what the file remembers, if anything. An empty name
// stands for no file.
func Open(file string, opts Options, log *slog.Logger) *History {
	h := New(opts)
	h.file, h.log = file, log
	if file == "" {
		return h
	}
	m, err := read(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		log.Info("no history of endpoints yet: displaced flows cost more for the retention", "file", file, "retention", opts.Retention)
		return h
	case err != nil:
		log.Warn("the history of endpoints is of no use and begins anew: displaced flows cost more for the retention", "file", file, "retention", opts.Retention, "err", err)
		return h
	}
	h.memory, h.saved = m, m.last
	return h
}

func read(file string) (memory, error) {
	info, err := os.Stat(file)
	if err != nil {
		return memory{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return memory{}, fmt.Errorf("not a regular file of at most %d bytes", maxFile)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return memory{}, err
	}
	return decode(data)
}

// decode refuses what no History writes.
func decode(data []byte) (memory, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return memory{}, err
	}
	if d.Version != version {
		return memory{}, fmt.Errorf("version %d; this one reads %d", d.Version, version)
	}
	if d.Last.IsZero() || d.Changed.After(d.Last) {
		return memory{}, fmt.Errorf("its time is %s, and that of the last change %s", d.Last, d.Changed)
	}
	m := empty()
	m.last, m.changed = d.Last.UTC(), d.Changed.UTC()
	for a, used := range d.Tunnels {
		m.tunnels[a] = used.UTC()
	}
	for name, ds := range d.Services {
		s := &service{rows: ds.Rows, endpoints: map[netip.AddrPort]*endpoint{}}
		if s.rows != 0 && bits.OnesCount32(s.rows) != 1 {
			return memory{}, fmt.Errorf("service %s: %d rows are no power of two", name, s.rows)
		}
		for _, z := range ds.Sizes {
			if bits.OnesCount32(z.Rows) != 1 {
				return memory{}, fmt.Errorf("service %s: %d former rows are no power of two", name, z.Rows)
			}
			s.sizes = append(s.sizes, chain.Size{Rows: z.Rows, Until: z.Until.UTC()})
		}
		for addr, de := range ds.Endpoints {
			s.endpoints[addr] = de.endpoint()
		}
		m.services[name] = s
	}
	return m, nil
}

func (d documentEndpoint) endpoint() *endpoint {
	e := &endpoint{
		born: stored(d.Born), weight: d.Weight, taking: d.Taking, since: stored(d.Since), gone: stored(d.Gone),
	}
	for _, f := range d.Former {
		e.former = append(e.former, chain.Former{Weight: f.Weight, Until: f.Until.UTC()})
	}
	return e
}

func (m *memory) encode() ([]byte, error) {
	d := document{Version: version, Last: m.last, Changed: m.changed, Tunnels: m.tunnels, Services: make(map[string]documentService, len(m.services))}
	for name, s := range m.services {
		ds := documentService{Rows: s.rows, Endpoints: make(map[netip.AddrPort]documentEndpoint, len(s.endpoints))}
		for _, z := range s.sizes {
			ds.Sizes = append(ds.Sizes, documentSize{z.Rows, z.Until})
		}
		for addr, e := range s.endpoints {
			de := documentEndpoint{Born: e.born, Weight: e.weight, Taking: e.taking, Since: e.since, Gone: e.gone}
			for _, f := range e.former {
				de.Former = append(de.Former, documentWeight{f.Weight, f.Until})
			}
			ds.Endpoints[addr] = de
		}
		d.Services[name] = ds
	}
	return json.Marshal(d)
}

// Save writes the file if what it holds is out of date. A large one may be left
// for a later call, so that writing takes little of the time.
func (h *History) Save() error {
	if h.file == "" || h.last.IsZero() || !h.dirty && h.last.Sub(h.saved) < fresh {
		return nil
	}
	if h.size >= large && time.Since(h.wrote) < share*h.cost {
		return nil
	}
	return h.write()
}

// Close writes what has not been.
func (h *History) Close() error {
	if h.file == "" || h.last.IsZero() || !h.dirty && h.last.Equal(h.saved) {
		return nil
	}
	return h.write()
}

func (h *History) write() error {
	began := time.Now()
	data, err := h.encode()
	if err == nil {
		err = replace.File(h.file, func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		})
	}
	h.size, h.wrote = len(data), time.Now()
	h.cost = h.wrote.Sub(began)
	if err == nil {
		h.saved, h.dirty = h.last, false
	}
	return h.tell(err)
}

// tell logs an error of writing when it is another than the last one, and returns it.
func (h *History) tell(err error) error {
	switch {
	case err == nil && h.bad != "":
		h.log.Info("the history of endpoints can be written again", "file", h.file)
		h.bad = ""
	case err != nil && err.Error() != h.bad:
		h.log.Warn("the history of endpoints cannot be written: a restart would forget it", "file", h.file, "err", err)
		h.bad = err.Error()
	}
	if err != nil {
		return fmt.Errorf("write history of endpoints to %s: %w; correct source.history, or leave it empty", h.file, err)
	}
	return nil
}
