package kube

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"

	"github.com/penstock-lb/penstock/agent/desired"
)

const (
	quiet    = 20 * time.Millisecond  // without an event, before Changed
	limit    = 200 * time.Millisecond // from the first event to Changed at most
	podsWait = 5 * time.Second        // that pods may put off the first sync
)

// Source follows the objects of a cluster.
type Source struct {
	client  kubernetes.Interface
	log     *slog.Logger
	now     func() time.Time
	reader  *podReader // nil in the role backend
	feeds   []*feed
	changed chan struct{}
	kicked  chan struct{} // there is something to look at for Run
	ready   chan struct{} // closed at the first sync

	mu       sync.Mutex // guards all below
	ix       *index
	problems map[string]desired.Problem // by verb and resource
	suspects map[string]time.Time       // by the same, since when they have failed
	restless bool                       // there is something new that Changed has not told of
	listed   int                        // feeds that have been listed once
	deadline time.Time                  // of the first sync, once all are
	synced   bool
	given    bool // the first Delta was taken
	watchers []func(service string)
}

// NewSource makes a Source that knows nothing before Run.
func NewSource(c *Client, log *slog.Logger) *Source {
	s := &Source{
		client: c.reads, log: log, now: time.Now,
		changed: make(chan struct{}, 1), kicked: make(chan struct{}, 1), ready: make(chan struct{}),
		problems: map[string]desired.Problem{}, suspects: map[string]time.Time{},
	}
	var pods *podTable
	if c.Options.Role == roleLB {
		pods = newPodTable(func(key string) { s.reader.ask(key) })
		s.reader = &podReader{
			first: pods.synced.Load,
			get: func(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
				return s.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
			},
			wants: s.wantsPod, take: s.takePod, fail: s.failPod,
			limit: flowcontrol.NewTokenBucketRateLimiter(podsQPS, podsBurst),
		}
	}
	s.ix = newIndex(c.Options.Role, c.Options.holdTime(), pods)
	s.ix.self = c.Options.Node
	s.feeds = s.allFeeds(c.Options)
	return s
}

// ownNode gives this node's Node as it is at the moment, without waiting for a burst of changes
// to end; nil with true if it was there and is not any more.
func (s *Source) ownNode() (n *corev1.Node, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ix.nodes[s.ix.self], s.ix.departed
}

// self is the name of this node's Node.
func (s *Source) self() string { return s.ix.self }

// Changed receives after Delta or Snapshot has something new.
func (s *Source) Changed() <-chan struct{} { return s.changed }

// Run follows the cluster until ctx ends, whether the API server answers or not.
func (s *Source) Run(ctx context.Context) error {
	// What client-go would log of its own, as that a watch has ended, is in Link and in
	// Problems where it matters.
	ctx = klog.NewContext(ctx, klog.Logger{})
	if s.reader != nil {
		s.reader.open()
	}
	var wg sync.WaitGroup
	for _, f := range s.feeds {
		wg.Go(func() { f.run(ctx) })
	}
	if s.reader != nil {
		wg.Go(func() { s.reader.run(ctx) })
	}
	s.tell(ctx)
	wg.Wait()
	return nil
}

// tell turns bursts of changes into one word on Changed.
func (s *Source) tell(ctx context.Context) {
	calm, due := time.NewTimer(time.Hour), time.NewTimer(time.Hour) // the burst may be over; look without an event
	defer calm.Stop()
	defer due.Stop()
	var first time.Time // of the burst; zero: none
	for {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
			s.change(func(*index) {})
		case <-s.kicked:
		case <-calm.C:
			if left := time.Until(first.Add(limit)); s.awaitsPods() && left > 0 {
				calm.Reset(left)
				continue
			}
			first = time.Time{}
			select {
			case s.changed <- struct{}{}:
			default:
			}
			continue
		}
		restless, next := s.look()
		if restless && first.IsZero() {
			first = time.Now()
		}
		if restless {
			calm.Reset(max(0, min(quiet, time.Until(first.Add(limit)))))
		}
		if !next.IsZero() {
			due.Reset(max(0, next.Sub(s.now())))
		}
	}
}

// look reports whether there is something to tell, and when to look again.
func (s *Source) look() (restless bool, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.ix.now = now
	next = s.ix.expire()
	if s.listed == len(s.feeds) && !s.synced {
		s.sync(now)
		if !s.synced && (next.IsZero() || s.deadline.Before(next)) {
			next = s.deadline
		}
	}
	restless = s.restless || s.synced && (len(s.ix.dirty) > 0 || s.ix.nodesDirty)
	s.restless = false
	return restless, next
}

// sync ends the time before the first sync if the pods have been read, or the time for it
// is over.
func (s *Source) sync(now time.Time) {
	if s.deadline.IsZero() {
		s.deadline = now.Add(podsWait)
	}
	left, _ := s.ix.pods.awaits()
	if left > 0 && now.Before(s.deadline) {
		return
	}
	s.synced, s.restless = true, true
	close(s.ready)
	if s.ix.pods != nil {
		s.ix.pods.synced.Store(true)
	}
	s.log.Info("the cluster is known", "services", len(s.ix.services()), "nodes", len(s.ix.nodes), "podsKnown", len(s.ix.pods.known()), "podsLeft", left)
}

// awaitsPods reports whether reads of pods that a change has brought about are under way.
func (s *Source) awaitsPods() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, urgent := s.ix.pods.awaits()
	return urgent > 0
}

// change makes changes to the index, as one.
func (s *Source) change(apply func(*index)) {
	s.mu.Lock()
	s.ix.now = s.now()
	apply(s.ix)
	touched := s.ix.touched
	s.ix.touched = nil
	s.mu.Unlock()
	for _, name := range touched {
		for _, fn := range s.watchers {
			fn(name)
		}
	}
	s.kick()
}

func (s *Source) kick() {
	select {
	case s.kicked <- struct{}{}:
	default:
	}
}

// Delta gives what has changed since it was last called. Before all has been read
// once it is false, and has Problems alone. Objects must not be modified.
func (s *Source) Delta() (desired.Delta, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := desired.Delta{Problems: s.problemList()}
	if !s.synced {
		return d, false
	}
	names := maps.Keys(s.ix.dirty)
	d.Reset, d.NodesChanged = !s.given, !s.given || s.ix.nodesDirty
	if d.Reset {
		clear(s.ix.dirty)
		for name := range s.ix.records {
			s.ix.dirty[name] = true
		}
	}
	d.Bundles = make(map[string]desired.Bundle, len(s.ix.dirty))
	for name := range names {
		d.Bundles[name] = s.ix.bundle(name)
	}
	if d.NodesChanged {
		d.Nodes = s.ix.nodeList()
	}
	s.given, s.ix.nodesDirty = true, false
	s.ix.dirty = map[string]bool{} // a new one, as a map does not shrink
	return d, true
}

// Snapshot gives all that is known, and false until all has been read once. Objects must
// not be modified.
func (s *Source) Snapshot() (desired.Snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := desired.Snapshot{Problems: s.problemList(), Nodes: s.ix.nodeList()}
	for _, name := range slices.Sorted(maps.Keys(s.ix.records)) {
		r := s.ix.records[name]
		if r.service != nil {
			out.Services = append(out.Services, r.service)
		}
		out.Slices = append(out.Slices, r.all()...)
	}
	for _, name := range slices.Sorted(maps.Keys(s.ix.pods.known())) {
		out.Pods = append(out.Pods, s.ix.pods.known()[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.ix.namespaces)) {
		out.Namespaces = append(out.Namespaces, s.ix.namespaces[name])
	}
	return out, s.synced
}

// nodeList gives the nodes by name.
func (ix *index) nodeList() []*corev1.Node {
	return slices.SortedFunc(maps.Values(ix.nodes), func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
}
