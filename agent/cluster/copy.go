package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/replace"
)

const (
	// patience is what the API server has to answer after a start, before the copy of what it
	// said last is used: well below the time for which routers keep a restarted agent's routes.
	patience = 10 * time.Second
	// stale is how old a copy may be that is used.
	stale = 24 * time.Hour
	// saveEvery is the least time between two copies: what changed in it is lost to an agent
	// that is killed while the API server goes away. Making copies takes at most a twentieth
	// of the time.
	saveEvery, share = time.Second, 20

	copyVersion = 1
)

// Source gives the objects that an agent works from.
type Source interface {
	Run(ctx context.Context) error
	Delta() (desired.Delta, bool)
	Changed() <-chan struct{}
}

// Copy is a source that keeps a copy of another one's objects in a file. An agent that
// starts while the API server is away goes on from there: its data path forwards anyway, and
// routers would take its routes away if it did not announce them again.
type Copy struct {
	inner   Source
	file    string
	log     *slog.Logger
	now     func() time.Time
	changed chan struct{}

	mu      sync.Mutex
	bundles map[string]desired.Bundle
	nodes   []*corev1.Node
	live    bool           // the inner source has synced
	old     *desired.Delta // the copy, once it is used; taken by the first Delta
	from    string         // what is said of the copy in use; empty: none is
	dirty   bool           // there is something that the file does not have
}

// header is the file's first line. Each further one is an object, so that neither side has
// all of them as text at one time.
type header struct {
	Version int       `json:"version"`
	Saved   time.Time `json:"saved"`
	Objects int       `json:"objects"` // lines that follow
}

// line is one object.
type line struct {
	Service   *corev1.Service            `json:"service,omitempty"`
	Slice     *discoveryv1.EndpointSlice `json:"slice,omitempty"`
	Pod       *corev1.Pod                `json:"pod,omitempty"`
	Node      *corev1.Node               `json:"node,omitempty"`
	Namespace *corev1.Namespace          `json:"namespace,omitempty"`
}

// NewCopy returns one that does nothing before Run.
func NewCopy(inner Source, file string, log *slog.Logger) *Copy {
	return &Copy{inner: inner, file: file, log: log, now: time.Now, changed: make(chan struct{}, 1), bundles: map[string]desired.Bundle{}}
}

// Changed receives after there is a new Delta.
func (c *Copy) Changed() <-chan struct{} { return c.changed }

// Delta is the inner source's or, for as long as that has not synced, the copy's.
func (c *Copy) Delta() (desired.Delta, bool) {
	d, synced := c.inner.Delta()
	c.mu.Lock()
	defer c.mu.Unlock()
	if synced {
		c.live, c.old, c.from = true, nil, ""
		c.note(d)
		return d, true
	}
	if c.from == "" {
		return d, false
	}
	problems := append(d.Problems, desired.Problem{File: c.file, Message: c.from})
	if c.old == nil {
		return desired.Delta{Problems: problems}, true
	}
	old := *c.old
	old.Problems, c.old = problems, nil
	return old, true
}

// note takes over what the inner source says.
func (c *Copy) note(d desired.Delta) {
	if d.Reset {
		c.bundles = map[string]desired.Bundle{}
	}
	for name, b := range d.Bundles {
		if b.Service == nil && len(b.Slices) == 0 {
			delete(c.bundles, name)
			continue
		}
		c.bundles[name] = b
	}
	if d.Reset || d.NodesChanged {
		c.nodes = d.Nodes
	}
	c.dirty = c.dirty || d.Reset || d.NodesChanged || len(d.Bundles) > 0
}

// Run runs the inner source, and keeps the copy, until ctx ends.
func (c *Copy) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.inner.Run(ctx) })
	g.Go(func() error {
		c.follow(ctx)
		return nil
	})
	return g.Wait()
}

func (c *Copy) follow(ctx context.Context) {
	late := time.NewTimer(patience)
	defer late.Stop()
	save := time.NewTimer(saveEvery)
	defer save.Stop()
	for {
		select {
		case <-ctx.Done():
			c.save()
			return
		case <-c.inner.Changed():
			c.signal()
		case <-late.C:
			c.fallBack()
		case <-save.C:
			save.Reset(max(saveEvery, share*c.save()))
		}
	}
}

func (c *Copy) signal() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// fallBack uses the copy, if there is nothing else.
func (c *Copy) fallBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live {
		return
	}
	d, saved, err := c.read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.log.Warn("the API server has not answered since the start, and there is no copy of what it said before", "file", c.file)
		return
	case err != nil:
		c.log.Warn("the API server has not answered since the start, and the copy of what it said before is of no use", "file", c.file, "err", err)
		return
	}
	c.old = &d
	c.from = fmt.Sprintf("the API server has not answered since this agent started: what is in force is of %s, from this copy", saved.UTC().Format(time.RFC3339))
	c.log.Warn("the API server has not answered since the start: going on from the copy of what it said before", "file", c.file, "saved", saved)
	c.signal()
}

func (c *Copy) read() (desired.Delta, time.Time, error) {
	none := func(err error) (desired.Delta, time.Time, error) { return desired.Delta{}, time.Time{}, err }
	f, err := os.Open(c.file)
	if err != nil {
		return none(err)
	}
	defer f.Close()
	lines := json.NewDecoder(bufio.NewReader(f))
	var h header
	if err := lines.Decode(&h); err != nil {
		return none(err)
	}
	switch age := c.now().Sub(h.Saved); {
	case h.Version != copyVersion:
		return none(fmt.Errorf("version %d; this one reads %d", h.Version, copyVersion))
	case age > stale:
		return none(fmt.Errorf("it is of %s, more than %s ago", h.Saved.UTC().Format(time.RFC3339), stale))
	}
	var s desired.Snapshot
	for range h.Objects {
		var l line
		if err := lines.Decode(&l); err != nil {
			return none(err)
		}
		l.add(&s)
	}
	return desired.Whole(s), h.Saved, nil
}

func (l line) add(s *desired.Snapshot) {
	switch {
	case l.Service != nil:
		s.Services = append(s.Services, l.Service)
	case l.Slice != nil:
		s.Slices = append(s.Slices, l.Slice)
	case l.Pod != nil:
		s.Pods = append(s.Pods, l.Pod)
	case l.Node != nil:
		s.Nodes = append(s.Nodes, l.Node)
	case l.Namespace != nil:
		s.Namespaces = append(s.Namespaces, l.Namespace)
	}
}

// save writes the copy if it is out of date, and tells how long that took. It is not
// synced to the disk: what is lost with the machine is of no use after it.
func (c *Copy) save() (took time.Duration) {
	began := time.Now()
	c.mu.Lock()
	if !c.live || !c.dirty {
		c.mu.Unlock()
		return 0
	}
	s := c.snapshot()
	c.dirty = false
	c.mu.Unlock()
	if err := replace.File(c.file, func(w io.Writer) error { return write(w, c.now(), s) }); err != nil {
		c.log.Warn("no copy of the objects: an agent that starts while the API server is away would announce nothing", "file", c.file, "err", err)
	}
	return time.Since(began)
}

// snapshot gives all objects. Objects are shared, and nobody modifies them.
func (c *Copy) snapshot() desired.Snapshot {
	s := desired.Snapshot{Nodes: c.nodes}
	spaces, pods := map[string]bool{}, map[string]bool{}
	for _, b := range c.bundles {
		if b.Service != nil {
			s.Services = append(s.Services, b.Service)
		}
		for _, slice := range b.Slices {
			if !strings.HasPrefix(slice.Name, "~") { // held for a moment
				s.Slices = append(s.Slices, slice)
			}
		}
		for _, p := range b.Pods {
			if key := p.Namespace + "/" + p.Name; !pods[key] {
				pods[key], s.Pods = true, append(s.Pods, p)
			}
		}
		if n := b.Namespace; n != nil && !spaces[n.Name] {
			spaces[n.Name], s.Namespaces = true, append(s.Namespaces, n)
		}
	}
	return s
}

// write is what read reads.
func write(w io.Writer, now time.Time, s desired.Snapshot) error {
	out := json.NewEncoder(w)
	n := len(s.Services) + len(s.Slices) + len(s.Pods) + len(s.Nodes) + len(s.Namespaces)
	err := out.Encode(header{copyVersion, now, n})
	put := func(l line) {
		if err == nil {
			err = out.Encode(l)
		}
	}
	for _, o := range s.Services {
		put(line{Service: o})
	}
	for _, o := range s.Slices {
		put(line{Slice: o})
	}
	for _, o := range s.Pods {
		put(line{Pod: o})
	}
	for _, o := range s.Nodes {
		put(line{Node: o})
	}
	for _, o := range s.Namespaces {
		put(line{Namespace: o})
	}
	return err
}
