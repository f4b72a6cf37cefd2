package drain

import (
	"fmt"
	"time"
)

// Stage is how far a drain has come. Names are part of the API and of metrics.
type Stage string

// The stages, in order.
const (
	Announced        Stage = "announced"        // there is no drain
	GracefulShutdown Stage = "gracefulShutdown" // announced as the last choice
	Withdrawn        Stage = "withdrawn"
)

// Stages lists them in order.
var Stages = []Stage{Announced, GracefulShutdown, Withdrawn}

// By says what has a node drain. Names are part of the API and of metrics.
type By string

// What has a node drain.
const (
	Command  By = "command"  // penstock drain, until penstock undrain
	Node     By = "node"     // its Node object, by a cordon or a taint
	Shutdown By = "shutdown" // the agent is about to end
)

// Causes lists them.
var Causes = []By{Command, Node, Shutdown}

// Ask is that a node drain.
type Ask struct {
	By      By            `json:"by"`
	Why     string        `json:"why,omitempty"`
	Since   time.Time     `json:"since"`
	Timeout time.Duration `json:"-"` // for traffic to cease in gracefulShutdown
}

// String names the cause, and what its author says.
func (a Ask) String() string {
	if a.Why == "" {
		return string(a.By)
	}
	return fmt.Sprintf("%s: %s", a.By, a.Why)
}

// Quiet is how long no packet may have arrived until traffic counts as gone. Routers take some
// 60 ms to move it, and a client's retransmission comes within a second.
const Quiet = time.Second

// State is a drain. The zero value is of an agent whose routes no router can have.
type State struct {
	Stage    Stage
	Since    time.Time // that it is in this stage
	Began    time.Time // zero without a drain
	Deadline time.Time // of gracefulShutdown
	Expired  bool      // the routes went at the deadline, although traffic still arrived
	Rate     float64   // packets per second, lately

	packets uint64    // as of at
	at      time.Time // zero before the first look
	moved   time.Time // when a packet was last seen to have arrived
}

// Next is the state at now, when packets have been carried so far. Where the counter went
// back, as that of another program, it counts as moved.
func (s State) Next(now time.Time, asks []Ask, packets uint64) State {
	s = s.look(now, packets)
	switch {
	case len(asks) == 0:
		s.Began, s.Deadline, s.Expired = time.Time{}, time.Time{}, false
		return s.enter(Announced, now)
	case s.Stage == "": // no router sends anything, and none is to begin
		s.Began = now
		return s.enter(Withdrawn, now)
	case s.Stage == Announced: // even without time routers hear of it before the routes go
		s.Began, s.Deadline = now, deadline(asks)
		s.moved, s.Rate = now, 0 // what arrived before, in whatever time, is no sign of what will
		return s.enter(GracefulShutdown, now)
	}
	if s.Stage != GracefulShutdown {
		return s
	}
	s.Deadline = deadline(asks)
	quiet := now.Sub(s.moved) >= Quiet
	if quiet || !now.Before(s.Deadline) {
		s.Expired = !quiet
		return s.enter(Withdrawn, now)
	}
	return s
}

// look takes over the counter.
func (s State) look(now time.Time, packets uint64) State {
	passed := now.Sub(s.at)
	switch {
	case s.at.IsZero() || packets < s.packets:
		s.Rate, s.moved = 0, now
	case passed <= 0:
		return s
	default:
		s.Rate = float64(packets-s.packets) / passed.Seconds()
		if packets != s.packets {
			s.moved = now
		}
	}
	s.packets, s.at = packets, now
	return s
}

func (s State) enter(stage Stage, now time.Time) State {
	if s.Stage != stage {
		s.Stage, s.Since = stage, now
	}
	return s
}

// Gone tells whether no packet has arrived for Quiet.
func (s State) Gone(now time.Time) bool { return now.Sub(s.moved) >= Quiet }

// deadline is that of the ask that has the least time.
func deadline(asks []Ask) (first time.Time) {
	for _, a := range asks {
		if d := a.Since.Add(a.Timeout); first.IsZero() || d.Before(first) {
			first = d
		}
	}
	return first
}
