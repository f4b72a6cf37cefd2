package churn

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

const (
	vipPort = 80
	podPort = 8080
	// LB nodes and ingress nodes of every site.
	allLBs, allIngress = 3, 3
)

// The client's networks. Every address of them is local to the client.
var clientNets = []netip.Prefix{
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:2::/64"),
}

// Options say how much is held.
type Options struct {
	TCP, UDP  int           // flows
	Interval  time.Duration // between two exchanges of a flow, on average; default 1 s
	Underlay6 bool
	Seed      uint64 // of what scenarios choose at random
	Penstock  string // the binary, default: built from this tree
}

// Site is the network, its pods and the holder. One goroutine uses it.
type Site struct {
	*lab.Lab
	tb       fixture.TB
	opts     Options
	mode     Mode
	balancer balancer
	rand     *rand.Rand
	cluster  lab.Cluster
	servers  map[*lab.Pod]*fixture.Process
	ends     []end
	gone     map[string]time.Time // pods, and when they were killed
	up       map[int]bool         // LB nodes that work, by position
	holder   *control
	views    *views
	skew     time.Duration // by which each agent sees changes later than the one before
	made     int
	log      []Event
}

// Event is something that was done to the site.
type Event struct {
	At   time.Time
	What string
}

func (s *Site) note(format string, args ...any) {
	s.log = append(s.log, Event{time.Now(), fmt.Sprintf(format, args...)})
}

// end is the moment at which a pod's grace is over.
type end struct {
	pod *lab.Pod
	at  time.Time
}

// NewSite builds the network, with LB nodes 0 to lbs-1 at work and the number of pods,
// all ready, and holds no flow yet.
func NewSite(tb fixture.TB, opts Options, mode Mode, lbs, pods int) *Site {
	tb.Helper()
	opts.Interval = cmp.Or(opts.Interval, time.Second)
	s := &Site{
		tb: tb, opts: opts, mode: mode, rand: rand.New(rand.NewPCG(opts.Seed, 1)),
		servers: map[*lab.Pod]*fixture.Process{}, gone: map[string]time.Time{}, up: map[int]bool{},
		views: &views{},
	}
	s.Lab = lab.New(tb, lab.Options{
		LBs: allLBs, Ingress: allIngress, Config: mode.Config, Penstock: opts.Penstock, Underlay6: opts.Underlay6,
	})
	s.cluster = lab.Cluster{
		Name: "web", VIPs: []netip.Addr{lab.VIP4, lab.VIP6},
		Ports: []lab.ServicePort{{Port: vipPort, Target: podPort, Protocol: "TCP"}, {Port: vipPort, Target: podPort, Protocol: "UDP"}},
	}
	s.clients()
	s.switchLike()
	s.balancer = mode.balancer(s)
	s.scale(pods)
	for i := range lbs {
		s.join(i)
	}
	s.balancer.await()
	s.startHolder()
	return s
}

// switchLike makes the router hash what is in the packet. The default takes the hash of the
// client's socket where that is in another namespace of this kernel, which no network carries.
func (s *Site) switchLike() {
	const addressesProtocolPorts = "0x37"
	for _, family := range []string{"ipv4", "ipv6"} {
		s.Router.Sysctl(s.tb, "net."+family+".fib_multipath_hash_fields", addressesProtocolPorts)
		s.Router.Sysctl(s.tb, "net."+family+".fib_multipath_hash_policy", "3")
	}
}

// clients makes all addresses of the client's networks its own.
func (s *Site) clients() {
	s.Client.Sysctl(s.tb, "net.ipv6.ip_nonlocal_bind", "1")
	for _, p := range clientNets {
		via := lab.Client4
		if p.Addr().Is6() {
			via = lab.Client6
		}
		s.Router.AddRoute(s.tb, p.String(), via.String())
		s.Client.Run(s.tb, "ip", "route", "add", "local", p.String(), "dev", "lo")
	}
}

func (s *Site) startHolder() {
	self, err := os.Executable()
	if err != nil {
		s.tb.Fatalf("%v", err)
	}
	socket := filepath.Join(s.tb.TempDir(), "holder.sock")
	vips := fmt.Sprintf("%s,%s", netip.AddrPortFrom(lab.VIP4, vipPort), netip.AddrPortFrom(lab.VIP6, vipPort))
	nets := fmt.Sprintf("%s,%s", clientNets[0], clientNets[1])
	s.Client.Start(s.tb, self, holdRole, socket, s.opts.Interval.String(), vips, nets)
	s.holder = newControl(socket)
	fixture.Wait(s.tb, 20*time.Second, "the holder", s.holder.begin)
}

// Open opens the flows and waits until all have been answered, twice each.
func (s *Site) Open() {
	s.tb.Helper()
	if err := s.holder.open(s.opts.TCP, s.opts.UDP); err != nil {
		s.tb.Fatalf("open flows: %v", err)
	}
	s.Settle(60 * time.Second)
	if err := s.holder.begin(); err != nil {
		s.tb.Fatalf("%v", err)
	}
}

// Settle waits until every flow that is not broken has been answered after now. A flow
// without an answer is broken after the holder's patience, and replaced.
func (s *Site) Settle(timeout time.Duration) {
	s.tb.Helper()
	mark := time.Now()
	fixture.Wait(s.tb, timeout, "answers on all flows", func() error {
		s.expire()
		r, err := s.holder.report()
		switch {
		case err != nil:
			return err
		case r.Held < r.Wanted:
			return fmt.Errorf("%d of %d flows are open, %d attempts failed: %s", r.Held, r.Wanted, r.OpenFailed, r.OpenError)
		case r.Oldest.Before(mark):
			return fmt.Errorf("a flow has had no answer for %s", time.Since(r.Oldest))
		}
		return nil
	})
}

// Pass lets time pass in which flows go on and pods' graces end.
func (s *Site) Pass(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		s.expire()
		time.Sleep(min(20*time.Millisecond, time.Until(until)))
	}
}

// Report is the holder's.
func (s *Site) Report() Report {
	s.tb.Helper()
	r, err := s.holder.report()
	if err != nil {
		s.tb.Fatalf("%v", err)
	}
	return r
}

// join starts an LB node for the first time, or again after it died.
func (s *Site) join(lb int) {
	s.note("%s joins", s.LBs[lb].Name)
	s.up[lb] = true
	s.balancer.start(lb)
}

// kill takes an LB node's power away.
func (s *Site) kill(lb int) {
	s.note("%s dies", s.LBs[lb].Name)
	s.up[lb] = false
	s.balancer.die(lb)
}

// lbsUp are the positions of the LB nodes that work, in order.
func (s *Site) lbsUp() []int {
	var all []int
	for i, up := range s.up {
		if up {
			all = append(all, i)
		}
	}
	slices.Sort(all)
	return all
}

// Verdicts sums a counter of the agents' data paths over all machines.
func (s *Site) Verdicts(names ...string) (sum uint64) {
	for _, h := range s.Hosts() {
		for name, n := range s.views.verdicts(h) {
			if slices.Contains(names, name) {
				sum += n
			}
		}
	}
	return sum
}

// Drops are all counters that say something went wrong, as "host name=packets".
func (s *Site) Drops() []string {
	var out []string
	for _, h := range s.Hosts() {
		for name, n := range s.views.verdicts(h) {
			if n > 0 && (strings.HasPrefix(name, "drop") || strings.HasPrefix(name, "abort") || strings.HasPrefix(name, "reject")) {
				out = append(out, fmt.Sprintf("%s %s=%d", h.Name, name, n))
			}
		}
	}
	slices.Sort(out)
	return out
}
