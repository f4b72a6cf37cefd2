package history

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/maps/chain"
	"github.com/penstock-lb/penstock/maps/rendezvous"
)

// Options of a History.
type Options struct {
	Retention time.Duration // as in chain.Options: what is older is forgotten
	Rows      uint32        // as in maps.Options: of the smallest table
}

// maxEndpoints bounds what is remembered of endpoints that are gone: with more than
// this in all, the first that went are forgotten before their time.
const maxEndpoints = 1 << 20

// History is not safe for concurrent use.
type History struct {
	opts Options
	memory
	pass  uint64 // counts calls of Observe
	dirty bool   // what is to be remembered changed since the file was written

	file  string // empty: none
	log   *slog.Logger
	saved time.Time     // memory.last as in the file
	wrote time.Time     // when that was written, by the clock
	cost  time.Duration // of writing it
	size  int           // in bytes
	bad   string        // why it could not be written, as last logged

	most int // endpoints, as maxEndpoints
}

// memory is what the file holds.
type memory struct {
	last     time.Time                // of the last Observe; zero: there was none
	changed  time.Time                // of the last Observe that found other endpoints than the one before
	services map[string]*service      // by name
	tunnels  map[netip.Addr]time.Time // addresses of ingress nodes, with their last use
}

type service struct {
	rows      uint32 // of its table; 0: it has had none
	sizes     []chain.Size
	endpoints map[netip.AddrPort]*endpoint
	pass      uint64
}

// New returns a History that knows nothing and has no file.
func New(opts Options) *History {
	return &History{opts: opts, memory: empty(), log: slog.New(slog.DiscardHandler), most: maxEndpoints}
}

func empty() memory {
	return memory{services: map[string]*service{}, tunnels: map[netip.Addr]time.Time{}}
}

// look is one call of Observe.
type look struct {
	now     time.Time
	last    time.Time // of the one before
	changed time.Time // of the last one that found something new
	first   bool
	horizon time.Time // what is not after it is forgotten
}

// Observe returns the services with the times, former weights and former sizes that
// they do not have yet, and remembers them. They are not modified, but share with
// the result what stays as it is.
func (h *History) Observe(now time.Time, services []maps.Service) []maps.Service {
	l := h.look(now)
	out, found := h.observeAll(l, services)
	found = h.miss(l) || found
	h.limit()
	h.looked(l, found)
	return out
}

// Update is Observe for the services that changed since the last Observe or Update, and the
// names of those that are gone. All others count as observed, as they were.
func (h *History) Update(now time.Time, services []maps.Service, gone []string) []maps.Service {
	l := h.look(now)
	out, found := h.observeAll(l, services)
	for _, s := range services {
		found = h.missIn(l, s.Name) || found
	}
	for _, name := range gone {
		if h.services[name] != nil {
			found = h.missIn(l, name) || found
		}
	}
	h.looked(l, found)
	return out
}

// look begins one.
func (h *History) look(now time.Time) look {
	now = now.Round(0).UTC() // what the file can hold: no monotonic clock
	if now.Before(h.last) {
		h.clamp(now)
	}
	h.pass++
	return look{now: now, last: h.last, changed: h.changed, first: h.last.IsZero(), horizon: now.Add(-h.opts.Retention)}
}

// looked ends one, which found something new or not.
func (h *History) looked(l look, found bool) {
	h.last = l.now
	if found || l.first {
		h.changed, h.dirty = l.now, true
	}
}

func (h *History) observeAll(l look, services []maps.Service) (out []maps.Service, found bool) {
	out = make([]maps.Service, len(services))
	for i, s := range services {
		var other bool
		out[i], other = h.observe(l, s)
		found = found || other
	}
	return out, found
}

// observe looks at one service, and says whether its endpoints are others than
// before.
func (h *History) observe(l look, s maps.Service) (_ maps.Service, found bool) {
	memory := h.services[s.Name]
	fresh := memory == nil
	if fresh {
		memory = &service{endpoints: map[netip.AddrPort]*endpoint{}}
		h.services[s.Name] = memory
	}
	memory.pass = h.pass
	usable := false
	s.Backends = slices.Clone(s.Backends)
	for i := range s.Backends {
		b := &s.Backends[i]
		e := memory.endpoints[b.Addr]
		if e == nil {
			e = arrive(l, *b, fresh)
			memory.endpoints[b.Addr] = e
			found = true
		} else if e.update(l, *b) {
			found = true
		}
		e.pass = h.pass
		e.fill(b)
		usable = usable || b.Eligible()
		if b.Tunnel.IsValid() {
			if _, known := h.tunnels[b.Tunnel]; !known {
				h.dirty = true
			}
			h.tunnels[b.Tunnel] = l.now
		}
	}
	if usable && memory.resize(l, rowsFor(len(s.Backends), h.opts.Rows)) {
		h.dirty = true
		if l.first {
			memory.sizes = grown(l, s.Backends, h.opts.Rows)
		}
	}
	if memory.sizes = recentSizes(memory.sizes, l.horizon); len(s.Sizes) == 0 {
		s.Sizes = slices.Clone(memory.sizes)
	}
	return s, found
}

// rowsFor is the size that the data path's table has.
func rowsFor(backends int, least uint32) uint32 {
	const regionAlign = 32 // REGION_ALIGN in bpf/types.h: no table is smaller
	return max(rendezvous.RowsFor(backends, least), regionAlign)
}

// listedAfter is how long after its start a pod may come to be an endpoint, which is
// when a table grows.
const listedAfter = time.Minute

// grown gives the sizes that a table had before the first look, as far as the endpoints
// tell that came to those that are older than the retention. Without those sizes an LB
// node that joins would not find half of the flows. Removed endpoints are not known: where
// all are new, nothing is, and of a table that became smaller neither.
func grown(l look, backends []maps.Backend, least uint32) (sizes []chain.Size) {
	var born []time.Time // of those that came
	for _, b := range backends {
		if b.BornAt.After(l.horizon) {
			born = append(born, b.BornAt)
		}
	}
	slices.SortFunc(born, time.Time.Compare)
	old := len(backends) - len(born)
	for i, t := range born {
		if rows := rowsFor(old+i, least); old > 0 && rows != rowsFor(old+i+1, least) {
			sizes = append(sizes, chain.Size{Rows: rows, Until: earlier(t.Add(listedAfter), l.now)})
		}
	}
	return sizes
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// resize notes a new size of the table, which changes only while it has an
// eligible backend.
func (s *service) resize(l look, rows uint32) bool {
	if s.rows == rows {
		return false
	}
	s.sizes = slices.DeleteFunc(s.sizes, func(z chain.Size) bool { return z.Rows == s.rows || z.Rows == rows })
	if s.rows != 0 {
		s.sizes = append(s.sizes, chain.Size{Rows: s.rows, Until: l.now})
	}
	s.rows = rows
	return true
}

func recentSizes(sizes []chain.Size, horizon time.Time) []chain.Size {
	return slices.DeleteFunc(sizes, func(z chain.Size) bool { return !z.Until.After(horizon) })
}

// miss notes what was there before and is not now, and forgets what went longer ago
// than the retention.
func (h *History) miss(l look) (found bool) {
	for name := range h.services {
		found = h.missIn(l, name) || found
	}
	for addr, used := range h.tunnels {
		if used != l.now && !used.After(l.horizon) {
			delete(h.tunnels, addr)
			h.dirty = true
		}
	}
	return found
}

// missIn is miss for one service.
func (h *History) missIn(l look, name string) (found bool) {
	s := h.services[name]
	for addr, e := range s.endpoints {
		switch {
		case e.pass == h.pass:
		case e.gone.IsZero():
			e.leave(l)
			found = true
		case !e.gone.After(l.horizon):
			delete(s.endpoints, addr)
			h.dirty = true
		}
	}
	if s.pass != h.pass && len(s.endpoints) == 0 {
		delete(h.services, name)
		h.dirty = true
	}
	return found
}

// limit forgets of the endpoints that are gone those that went first, where there
// are too many.
func (h *History) limit() {
	type place struct {
		service *service
		addr    netip.AddrPort
	}
	total := 0
	for _, s := range h.services {
		total += len(s.endpoints)
	}
	if total <= h.most {
		return
	}
	var gone []place
	for _, s := range h.services {
		for addr, e := range s.endpoints {
			if !e.gone.IsZero() {
				gone = append(gone, place{s, addr})
			}
		}
	}
	slices.SortFunc(gone, func(a, b place) int {
		return a.service.endpoints[a.addr].gone.Compare(b.service.endpoints[b.addr].gone)
	})
	for _, p := range gone[:min(len(gone), total-h.most)] {
		delete(p.service.endpoints, p.addr)
	}
}

// Tunnels are the addresses of the ingress nodes to which backends have tunnels, or
// had within the retention.
func (h *History) Tunnels() map[netip.Addr]bool {
	out := make(map[netip.Addr]bool, len(h.tunnels))
	for a := range h.tunnels {
		out[a] = true
	}
	return out
}

// clamp makes of times that are yet to come now.
func (h *History) clamp(now time.Time) {
	at := func(t *time.Time) {
		if t.After(now) {
			*t = now
		}
	}
	at(&h.last)
	at(&h.changed)
	for a, used := range h.tunnels {
		at(&used)
		h.tunnels[a] = used
	}
	for _, s := range h.services {
		for i := range s.sizes {
			at(&s.sizes[i].Until)
		}
		for _, e := range s.endpoints {
			at(&e.born)
			at(&e.since)
			at(&e.gone)
			for i := range e.former {
				at(&e.former[i].Until)
			}
		}
	}
	h.dirty = true
}
