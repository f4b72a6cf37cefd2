package bgp_test

import (
	"os"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/test/fixture"
)

const (
	frr  = "FRR"
	bird = "BIRD"
)

var kinds = []string{frr, bird}

// router is a real one, as far as the rows need it.
type router interface {
	// told returns what is in its table of a prefix, in the order of next hops.
	told(prefix string) ([]told, error)
	// established tells whether it has a session with a neighbor, by its address.
	established(neighbor string) (bool, error)
	// last is what it says of the end of the last session with a neighbor.
	last(neighbor string) (string, error)
	// received counts the networks that a neighbor sent, before any filter.
	received(neighbor, family string) (int, error)
	// bfd tells whether it sees a neighbor up.
	bfd(neighbor string) (bool, error)
	// configure makes s the configuration, without a restart. What FRR has to be told to forget is in
	// s.forget.
	configure(t *testing.T, s side)
	// shutdown ends the session with a neighbor, with a word to it.
	shutdown(t *testing.T, neighbor, why string)
	// signal is for all of its processes.
	signal(t *testing.T, sig os.Signal)
	stop(t *testing.T)
	restart(t *testing.T)
}

// told is a path as a router has it. Communities are sorted numbers.
type told struct {
	hop, asPath        string
	med, localPref     string // empty for none; of eBGP the latter is the router's own
	communities, large string
	extended           string // of FRR, as it prints it
	stale              bool
}

// side is a router's configuration, in words that FRR and BIRD share.
type side struct {
	id        string
	asn       int
	neighbors []neighbor
	networks  []string // that it announces
	lines     string   // more of its own language
	forget    string   // FRR's lines that undo what was there
}

// neighbor is a neighbor, or with a network in addr those that connect from there.
type neighbor struct {
	name     string // BIRD's protocol
	addr     string
	device   string // of a link-local addr
	local    string // the router's own address, for BIRD's BFD over several hops
	asn      int
	localAS  int
	families []string // default: that of addr
	lines    []string // FRR's, after "neighbor ADDR"

	password    string
	ttlSecurity bool
	multihop    int
	passive     bool
	extended    bool // IPv6 next hops for IPv4 (RFC 8950)
	bfd         bool
	keepalive   int  // seconds; default 1
	hold        int  // default 3
	everything  bool // takes networks of any length
}

func (n neighbor) dynamic() bool { return strings.Contains(n.addr, "/") }

func (n neighbor) channels() []string {
	switch {
	case n.families != nil:
		return n.families
	case strings.Contains(n.addr, ":"):
		return []string{"ipv6"}
	}
	return []string{"ipv4"}
}

func (n neighbor) timers() (keepalive, hold int) {
	if n.hold == 0 {
		return 1, 3
	}
	return n.keepalive, n.hold
}

func startRouter(t *testing.T, kind string, n *fixture.Netns, s side) router {
	t.Helper()
	if kind == bird {
		return &birdRouter{BIRD: fixture.StartBIRD(t, n, s.bird()), side: s}
	}
	var daemons []string
	for _, n := range s.neighbors {
		if n.bfd {
			daemons = []string{"bfdd"}
		}
	}
	return &frrRouter{FRR: fixture.StartFRR(t, n, s.frr(), daemons...)}
}
