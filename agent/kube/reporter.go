package kube

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Events of one node's reports. There are as many nodes that write as LB nodes, and as many
// Events as Services: a cluster that comes up is told of over minutes, one Service within
// seconds.
const (
	reportBurst = 50
	reportRate  = 2 // a second
)

// delays are times until a report is written: what lasts less is not told of. All nodes see
// the same cause at the same time, so that each waits for a time of its own beside.
type delays struct {
	soon  time.Duration // announced, withdrawn
	later time.Duration // refused: an edit may be several
	calm  time.Duration // other peers, or none
}

// Reporter writes what this node makes of Services, and what it is itself, to the API server.
type Reporter struct {
	node   string
	log    *slog.Logger
	out    *outbox
	events eventWriter
	own    *annotator
	leads  func() bool
	delay  delays

	mu      sync.Mutex
	reports map[string]ServiceReport // the newest, by Service
	told    map[string]*told         // by Service
}

// told is what has been written of a Service.
type told struct {
	uid   types.UID
	known bool              // the next two are what the Event says of this node
	line  string            // the peers that it is announced to; empty: not announced
	vips  []netip.Addr      // that are announced; nil where an earlier process wrote the Event
	ended map[string]bool   // withdrawals that are written, of a job that goes on; by reason
	said  map[string]string // messages of refusals, by reason; empty: gone since
}

// NewReporter makes a Reporter of the agent of a role on a node.
func NewReporter(client *Client, node, role string, log *slog.Logger) *Reporter {
	return newReporter(client.reads, client.connected, node, role, log)
}

func newReporter(set kubernetes.Interface, up func() bool, node, role string, log *slog.Logger) *Reporter {
	out := newOutbox(up, reportBurst, reportRate, log)
	return &Reporter{node: node, log: log, out: out,
		events:  eventWriter{set: set, write: out.allow},
		own:     newAnnotator(set, node, role, log),
		leads:   func() bool { return false },
		delay:   delays{soon: time.Second, later: 5 * time.Second, calm: 30 * time.Second},
		reports: map[string]ServiceReport{}, told: map[string]*told{}}
}

// Refusals has the reasons in reports written too while c leads: every node sees the same,
// so that one is enough to tell of them. To be called before Run.
func (r *Reporter) Refusals(c *Controller) {
	r.leads = func() bool { self, _ := c.Leader(); return self }
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onLead = append(c.onLead, r.review)
}

// Run writes until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { r.out.run(ctx) })
	wg.Go(func() { r.own.run(ctx) })
	wg.Wait()
	return nil
}

// Services takes reports of Services that changed; others stay as they were.
func (r *Reporter) Services(reports []ServiceReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range reports {
		r.reports[p.Service] = p
		t := r.told[p.Service]
		if t == nil || t.uid != types.UID(p.UID) {
			t = &told{uid: types.UID(p.UID), said: map[string]string{}}
			r.told[p.Service] = t
		}
		r.queue(p, t)
		if r.leads() {
			r.queueReasons(p, t)
		}
	}
}

// Gone forgets Services.
func (r *Reporter) Gone(services []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range services {
		delete(r.reports, s)
		delete(r.told, s)
		r.out.drop(announceKey + s)
		r.out.drop(reasonsKey + s)
	}
}

// review queues the reasons of all Services: this agent leads now.
func (r *Reporter) review() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, p := range r.reports {
		r.queueReasons(p, r.told[name])
	}
}

// Prefixes of the keys of jobs.
const (
	announceKey = "announce "
	reasonsKey  = "reasons "
)

// queue queues what p says of announcements, if that is new.
func (r *Reporter) queue(p ServiceReport, t *told) {
	line, delay := lineOf(p), r.delay.calm
	switch gone := withdrawn(p, t); {
	case t.known && t.line == line && len(gone) == 0:
		r.out.drop(announceKey + p.Service) // what was to be told has passed
		return
	case !t.known && line == "" && unheard(p):
		return // a session has just not come up yet
	case !t.known, t.line == "", len(gone) > 0 && gone[noPeer] == nil:
		delay = r.delay.soon
	}
	r.out.put(announceKey+p.Service, jitter(delay), func(ctx context.Context) error {
		return r.announce(ctx, p.Service)
	})
}

// queueReasons queues what p says of refusals, if there is any or was.
func (r *Reporter) queueReasons(p ServiceReport, t *told) {
	if len(refusals(p)) == 0 && len(t.said) == 0 {
		return
	}
	r.out.put(reasonsKey+p.Service, jitter(r.delay.later), func(ctx context.Context) error {
		return r.refuse(ctx, p.Service)
	})
}

// latest gives what is to be told of a Service now.
func (r *Reporter) latest(service string) (p ServiceReport, t told, s subject, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok = r.reports[service]
	if ok {
		t = *r.told[service]
		t.ended, t.said = maps.Clone(t.ended), maps.Clone(t.said)
	}
	return p, t, subject{service, types.UID(p.UID)}, ok
}

// tell notes what has been written of a Service, if it is still the same one.
func (r *Reporter) tell(s subject, note func(*told)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.told[s.service]; t != nil && t.uid == s.uid {
		note(t)
	}
}
