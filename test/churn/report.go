package churn

import (
	"sync"
	"time"
)

// Break is the end of a flow that neither end wanted.
type Break struct {
	Flow   uint64
	Proto  string
	Client string
	Pod    string // that it was on; empty if none had answered yet
	At     time.Time
	Age    time.Duration
	Why    string
	Moved  string // another pod that answered
}

// Report is what the holder has seen since it was last told to begin.
type Report struct {
	Held       int // flows that are open and have been answered
	Wanted     int
	Opened     int
	OpenFailed int // attempts; they are made again
	OpenError  string
	Closed     int // on the pod's wish
	Exchanges  uint64
	Breaks     []Break
	// WrongClient counts flows, from the first one on, whose server saw another client
	// address or port.
	WrongClient int
	// Stall is the longest that an exchange of a flow took that is not broken.
	Stall  time.Duration
	Stalls int    // exchanges of more than a second
	Slow   []Slow // the first of them
	// Oldest is when the flow was answered that waits the longest.
	Oldest time.Time
}

// Slow is an exchange that took more than a second.
type Slow struct {
	Flow          uint64
	Proto, Client string
	Pod           string
	From          time.Time
	Took          time.Duration
}

// ledger collects the report.
type ledger struct {
	mu     sync.Mutex
	report Report
	flows  map[uint64]time.Time // last answer of each open flow
}

func (l *ledger) with(f func(*Report)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.report)
}

// begin forgets what was counted, not the flows and what they are like.
func (l *ledger) begin() {
	l.with(func(r *Report) { *r = Report{Wanted: r.Wanted, WrongClient: r.WrongClient} })
}

func (l *ledger) exchanged(f *flow, start time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	const kept = 100
	now := time.Now()
	l.flows[f.id] = now
	r, took := &l.report, now.Sub(start)
	r.Exchanges++
	r.Stall = max(r.Stall, took)
	if took <= time.Second {
		return
	}
	r.Stalls++
	if len(r.Slow) < kept {
		r.Slow = append(r.Slow, Slow{f.id, f.proto, f.local.String(), f.pod, start, took.Round(time.Millisecond)})
	}
}

func (l *ledger) ended(flow uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.flows, flow)
}

// read gives a copy.
func (l *ledger) read() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.report
	r.Breaks = append([]Break(nil), r.Breaks...)
	r.Held = len(l.flows)
	r.Oldest = time.Now()
	for _, at := range l.flows {
		if at.Before(r.Oldest) {
			r.Oldest = at
		}
	}
	return r
}
