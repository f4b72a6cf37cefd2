package bgp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// pings are a client behind router 1 that pings a VIP from several addresses, so that ECMP spreads them.
type pings struct {
	g     *rig
	procs []*fixture.Process
}

var pinged = regexp.MustCompile(`icmp_seq=(\d+) ttl`)

// client makes a client behind router 1, and gives the VIP to all nodes, which answer for it.
func (g *rig) client(vip string) *fixture.Netns {
	g.t.Helper()
	c := fixture.NewNetns(g.t, "client")
	var addrs []string
	for i := range 4 {
		addrs = append(addrs, fmt.Sprintf("10.200.0.%d/24", 2+i), fmt.Sprintf("fd00:200::%d/64", 2+i))
	}
	fixture.Link(g.t, g.tors[0], "client", c, "eth0", fixture.LinkOptions{AddrsA: []string{"10.200.0.1/24", "fd00:200::1/64"}, AddrsB: addrs})
	c.AddRoute(g.t, "default", "10.200.0.1")
	c.AddRoute(g.t, "default6", "fd00:200::1")
	for j, lb := range g.lbs {
		lb.AddAddr(g.t, "lo", vip)
		lb.AddRoute(g.t, "10.200.0.0/24", v4(1, j+1, 1))
		lb.AddRoute(g.t, "fd00:200::/64", v6(1, j+1, 1))
	}
	return c
}

// ping begins to ping a VIP that the router has a route for.
func (g *rig) ping(c *fixture.Netns, vip string) *pings {
	g.t.Helper()
	p := &pings{g: g}
	dst := netip.MustParsePrefix(vip).Addr().String()
	for i := range 4 {
		src := fmt.Sprintf("10.200.0.%d", 2+i)
		if g.family == bgp.IPv6 {
			src = fmt.Sprintf("fd00:200::%d", 2+i)
		}
		p.procs = append(p.procs, c.Start(g.t, "stdbuf", "-oL", "ping", "-n", "-i", "0.02", "-I", src, dst))
	}
	p.more()
	return p
}

// counts are a ping's answers, and the highest number among them.
func answers(proc *fixture.Process) (n, last int) {
	for line := range strings.Lines(proc.Output()) {
		if m := pinged.FindStringSubmatch(line); m != nil {
			n++
			seq, _ := strconv.Atoi(m[1])
			last = max(last, seq)
		}
	}
	return n, last
}

// more waits until all have had some more answers.
func (p *pings) more() {
	p.g.t.Helper()
	for _, proc := range p.procs {
		before, _ := answers(proc)
		fixture.Wait(p.g.t, 20*time.Second, "answers", func() error {
			if n, _ := answers(proc); n < before+10 {
				return errors.New(proc.Output()[max(0, len(proc.Output())-300):])
			}
			return nil
		})
	}
}

// lost counts pings without an answer, up to some more that have one.
func (p *pings) lost() (lost, sent int) {
	p.g.t.Helper()
	p.more()
	for _, proc := range p.procs {
		n, last := answers(proc)
		lost, sent = lost+last-n, sent+last
	}
	return lost, sent
}

// none fails unless all pings were answered.
func (p *pings) none() {
	p.g.t.Helper()
	lost, sent := p.lost()
	p.g.note("%d of %d pings lost", lost, sent)
	if lost != 0 {
		p.g.t.Errorf("%d of %d pings were lost", lost, sent)
	}
}
