package probe

import (
	"fmt"
	"net/netip"
	"time"
)

// State is what a node's answers say of it.
type State string

const (
	Unknown State = "unknown" // not asked often enough to tell
	Silent  State = "silent"  // it has never answered
	Alive   State = "alive"
	Dead    State = "dead" // it has answered, and does not now
)

const (
	// outstanding is how many probes of a node can still be answered: answers may take
	// longer than the interval.
	outstanding = 8
	// longestHold bounds the time for which a flapping node has to answer.
	longestHold = time.Minute
	// steadyAfter is how long a node has to be alive so that its next death counts as
	// the first one.
	steadyAfter = 2 * time.Minute
)

// Target is an ingress node that is to be asked.
type Target struct {
	Name   string     `json:"name"`
	Addr   netip.Addr `json:"addr"`            // of the tunnel
	Source netip.Addr `json:"source,omitzero"` // this node's own; invalid: the route's
	// Used says that flows were sent there before, perhaps by an agent before this one:
	// if it does not answer it is dead rather than silent.
	Used bool `json:"-"`
}

// Node is an ingress node as this LB node sees it.
type Node struct {
	Target
	State      State     `json:"state"`
	Since      time.Time `json:"since,omitzero"` // when it came into the state
	LastAnswer time.Time `json:"lastAnswer,omitzero"`
	RTT        float64   `json:"rttSeconds"` // smoothed; 0 without an answer
	Sent       uint64    `json:"sent"`
	Answered   uint64    `json:"answered"`
	Deaths     uint64    `json:"deaths"`
	Reason     string    `json:"reason,omitempty"` // why it is not alive
}

// track judges one node by rounds: in each it is asked once.
type track struct {
	Node
	rules *Options

	asked    [outstanding]question // a ring; the last one is at turn-1
	turn     int
	heard    bool // an answer came in this round
	missed   int  // rounds without an answer, in a row
	streak   int  // rounds with one
	flaps    int  // deaths of which each came soon after the recovery
	sendFail string
}

type question struct {
	nonce nonce
	at    time.Time // zero: none, or answered
}

func newTrack(t Target, rules *Options) *track {
	return &track{Node: Node{Target: t, State: Unknown}, rules: rules}
}

// ask begins a round.
func (t *track) ask(now time.Time) nonce {
	n := newNonce()
	t.asked[t.turn%outstanding] = question{n, now}
	t.turn++
	t.heard, t.sendFail = false, ""
	t.Sent++
	return n
}

// answer takes an answer and tells whether it is one.
func (t *track) answer(n nonce, now time.Time) bool {
	for i := range t.asked {
		q := &t.asked[i]
		if q.at.IsZero() || q.nonce != n {
			continue
		}
		t.measure(now.Sub(q.at))
		*q = question{}
		t.heard, t.missed = true, 0
		t.LastAnswer = now
		t.Answered++
		if t.State == Unknown { // nothing that it did before speaks against it
			t.become(Alive, now)
		}
		return true
	}
	return false
}

// measure smooths as RFC 6298 does.
func (t *track) measure(rtt time.Duration) {
	if t.RTT == 0 {
		t.RTT = rtt.Seconds()
		return
	}
	t.RTT += (rtt.Seconds() - t.RTT) / 8
}

// close ends a round that was begun. Without an answer it counts as missed.
func (t *track) close(now time.Time) {
	if t.heard {
		t.streak++
	} else {
		t.streak = 0
		t.missed++
	}
	switch {
	case t.missed >= t.rules.Failures && (t.State == Alive || t.Used && t.State != Dead):
		t.die(now)
	case t.State == Unknown && t.missed >= t.rules.Failures:
		t.become(Silent, now)
	case (t.State == Dead || t.State == Silent) && t.streak >= t.need():
		t.become(Alive, now)
	}
	t.Reason = t.why()
}

func (t *track) die(now time.Time) {
	t.flaps++
	if t.Deaths == 0 || now.Sub(t.Since) >= steadyAfter {
		t.flaps = 0
	}
	t.Deaths++
	t.become(Dead, now)
}

func (t *track) become(s State, now time.Time) { t.State, t.Since, t.Reason = s, now, "" }

// need is how many answers in a row make the node alive again.
func (t *track) need() int {
	most := max(int(longestHold/t.rules.Interval), t.rules.Recoveries)
	need := t.rules.Recoveries
	for range t.flaps {
		if need *= 2; need >= most {
			return most
		}
	}
	return need
}

// judged tells whether anything is known of the node.
func (t *track) judged() bool { return t.State != Unknown }

func (t *track) why() string {
	switch {
	case t.State == Alive:
		return ""
	case t.sendFail != "":
		return t.sendFail
	case t.State == Unknown:
		return "asked for the first time"
	case t.streak > 0:
		text := fmt.Sprintf("answers again, %d of %d times", t.streak, t.need())
		if t.flaps > 0 {
			text += fmt.Sprintf("; it was alive for less than %s before it died, %d times in a row", steadyAfter, t.flaps)
		}
		return text
	case t.State == Silent:
		return fmt.Sprintf("has answered none of %d probes to UDP port %d: see that its agent runs with role backend and "+
			"the same tunnel.port, that it knows this LB node, and that no firewall is between", t.Sent, t.rules.Port)
	}
	return fmt.Sprintf("has not answered %d probes to UDP port %d: see that it is up, that its agent has the same tunnel.port "+
		"and knows this LB node, and that no firewall is between", t.missed, t.rules.Port)
}
