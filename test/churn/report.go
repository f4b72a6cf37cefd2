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
	Stall   time.Duration
	StallAt time.Time
	Stalls  int // exchanges of more than a second
	// Oldest is when the flow was answered that waits the longest.
	Oldest time.Time
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

func (l *ledger) exchanged(flow uint64, took time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flows[flow] = now
	l.report.Exchanges++
	if took > l.report.Stall {
		l.report.Stall, l.report.StallAt = took, now
	}
	if took > time.Second {
		l.report.Stalls++
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
