package maps

import (
	"slices"
	"time"

	"github.com/penstock-lb/penstock/bpf"
)

// translation says whether a service has translated flows, which the data path has
// to ask flows for. They go on after the last backend of that kind left.
type translation struct {
	backends bool      // it has such backends
	left     time.Time // when it had the last one; zero: it has, or had none
	ended    bool      // since then, a sweep has found none of its flows
}

// translated says whether a backend's packets are translated on this node.
func (s Service) translated() bool {
	return slices.ContainsFunc(s.Backends, func(b Backend) bool { return !b.Tunnel.IsValid() })
}

// see takes in whether there are such backends now.
func (n *translation) see(backends bool, now time.Time, retention time.Duration) {
	switch {
	case backends:
		n.left = time.Time{}
	case n.backends:
		n.left, n.ended = now, false
	case n.ended && now.Sub(n.left) >= retention:
		n.left = time.Time{}
	}
	n.backends = backends
}

func (n *translation) flag() bool { return n.backends || n.lingers() }

// lingers says that there may be flows, but none that begin.
func (n *translation) lingers() bool { return !n.left.IsZero() }

// end is when the flag may go, zero if that is not known.
func (n *translation) end(retention time.Duration) time.Time {
	if !n.lingers() || !n.ended {
		return time.Time{}
	}
	return n.left.Add(retention)
}

// lingering are the services of which a sweep has to tell whether they have flows.
func (t *Tables) lingering() map[uint32]*service {
	lingering := make(map[uint32]*service)
	for _, s := range t.services {
		if s.nat.lingers() {
			lingering[s.id] = s
		}
	}
	return lingering
}

// serviceOf is the number of the service that a client's packets of a flow reach, 0
// for a backend's packets.
func (t *Tables) serviceOf(key bpf.Tuple) uint32 {
	return t.frontends[Frontend{VIP: key.Dst.Netip(), Port: bpf.Htons(key.Dport), Proto: Proto(key.Proto)}]
}
