package netns

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/drain"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// told is what the router has from an LB node of a VIP.
type told string

const (
	toldPlain told = "plain"
	toldLast  told = "graceful-shutdown"
	toldNone  told = "nothing"
)

// toldBy asks the router.
func toldBy(l *lab.Lab, vip, peer netip.Addr) (told, error) {
	family := "ipv4"
	if vip.Is6() {
		family = "ipv6"
	}
	var route struct {
		Paths []struct {
			Community struct{ String string }
			Peer      struct{ PeerID string }
			Metric    uint32
		}
	}
	command := fmt.Sprintf("show bgp %s unicast %s json", family, netip.PrefixFrom(vip, vip.BitLen()))
	if err := l.FRR.Query(command, &route); err != nil {
		return "", err
	}
	for _, p := range route.Paths {
		switch {
		case p.Peer.PeerID != peer.String():
		case strings.Contains(p.Community.String, "graceful-shutdown") && p.Metric == 1<<32-2:
			return toldLast, nil
		case p.Community.String == "":
			return toldPlain, nil
		default:
			return "", fmt.Errorf("%s has %s with community %q and MED %d", peer, vip, p.Community.String, p.Metric)
		}
	}
	return toldNone, nil
}

// watch notes what the router has from an LB node of either VIP, each time that it is
// something else, from its beginning until the test stops it.
type watch struct {
	mu   sync.Mutex
	seen map[netip.Addr][]told
	errs []error
}

func watchTold(l *lab.Lab, b *lab.LB) (w *watch, stop func()) {
	w = &watch{seen: map[netip.Addr][]told{}}
	look := func() {
		for vip, peer := range map[netip.Addr]netip.Addr{lab.VIP4: b.Addr4, lab.VIP6: b.Addr6} {
			now, err := toldBy(l, vip, peer)
			w.note(vip, now, err)
		}
	}
	look()
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			look()
			select {
			case <-end:
				return
			default:
			}
		}
	}()
	return w, sync.OnceFunc(func() { close(end); <-done })
}

func (w *watch) note(vip netip.Addr, now told, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.errs = append(w.errs, err)
	} else if s := w.seen[vip]; len(s) == 0 || s[len(s)-1] != now {
		w.seen[vip] = append(s, now)
	}
}

// is fails the test unless that and nothing else was seen of both VIPs.
func (w *watch) is(t *testing.T, want ...told) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for vip, seen := range w.seen {
		if !slices.Equal(seen, want) {
			t.Errorf("of %s the router had %v, want %v", vip, seen, want)
		}
	}
	if len(w.errs) > 0 {
		t.Errorf("%d questions failed, the first: %v", len(w.errs), w.errs[0])
	}
}

// awaitTold waits until the router has that of both VIPs from an LB node.
func awaitTold(t *testing.T, l *lab.Lab, b *lab.LB, want told) {
	t.Helper()
	for vip, peer := range map[netip.Addr]netip.Addr{lab.VIP4: b.Addr4, lab.VIP6: b.Addr6} {
		fixture.Wait(t, 30*time.Second, fmt.Sprintf("%s of %s from %s", want, vip, b.Name), func() error {
			if now, err := toldBy(l, vip, peer); err != nil || now != want {
				return fmt.Errorf("it has %s, %w", now, err)
			}
			return nil
		})
	}
}

var pinged = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// TestDrainByCommand takes an LB node out of service and back while requests and pings go on:
// none is lost, and the router is told in the order of the stages.
func TestDrainByCommand(t *testing.T) {
	l, _ := tunnelSite(t, lab.Options{LBs: 2})
	for _, h := range l.Hosts() {
		h.StartAgent(t)
	}
	l.WaitRoutes(t, 2)
	b := l.LBs[0]
	nodeStates(t, b, "alive alive")
	nodeStates(t, l.LBs[1], "alive alive")
	var loads []load
	var pings []*fixture.Process
	for _, vip := range vips {
		loads = append(loads, startLoad(t, l, vip, 12*time.Second), startLoad(t, l, vip, 12*time.Second, "-H", "Connection: close"))
		pings = append(pings, l.Client.Start(t, "ping", "-n", "-i", "0.02", "-w", "12", vip.String()))
	}
	w, stop := watchTold(l, b)
	defer stop()
	out, err := b.Penstock("drain", "--reason", "new RAM", "--timeout", "9s", "--wait")
	if err != nil || !strings.HasPrefix(out, "withdrawn for ") || !strings.Contains(out, "by command: new RAM") {
		t.Errorf("drain: %q, %v", out, err)
	}
	l.WaitRoutes(t, 1)
	awaitTold(t, l, b, toldNone)
	stop()
	w.is(t, toldPlain, toldLast, toldNone)
	s, err := statusOf(&b.Host)
	if err != nil || s.Drain == nil || s.Drain.Stage != drain.Withdrawn || s.Drain.Expired || s.State != api.Running {
		t.Errorf("status: drain %v, %s, %v", s.Drain, s.State, err)
	}
	if out, err := b.Penstock("undrain"); err != nil || !strings.HasPrefix(out, "announced for ") {
		t.Errorf("undrain: %q, %v", out, err)
	}
	awaitTold(t, l, b, toldPlain)
	l.WaitRoutes(t, 2)
	for _, w := range loads {
		w.check(t)
	}
	for _, p := range pings {
		if code, err := p.Wait(30 * time.Second); code != 0 || err != nil {
			t.Errorf("ping ended with %d, %v", code, err)
		}
		if m := pinged.FindStringSubmatch(p.Output()); m == nil || m[1] != m[2] {
			t.Errorf("%v", p.Output())
		}
	}
}

// TestDrainOutlastsAgents restarts the agent of a drained node, stops it in order, and has the
// other one refuse to drain meanwhile.
func TestDrainOutlastsAgents(t *testing.T) {
	l, _ := tunnelSite(t, lab.Options{LBs: 2})
	for _, h := range l.Hosts() {
		h.StartAgent(t)
	}
	l.WaitRoutes(t, 2)
	b := l.LBs[0]
	if out, err := b.Penstock("drain", "--wait", "-o", "json"); err != nil {
		t.Errorf("drain: %q, %v", out, err)
	}
	l.WaitRoutes(t, 1)
	w, stop := watchTold(l, b)
	defer stop()
	b.KillAgent(t)
	b.StartAgent(t)
	fixture.Wait(t, 30*time.Second, "the sessions of the second agent", func() error {
		s, err := statusOf(&b.Host)
		if err == nil && (len(s.BGP.Peers) != 2 || !api.SessionUp(s.BGP.Peers[0]) || !api.SessionUp(s.BGP.Peers[1])) {
			err = fmt.Errorf("peers %+v", s.BGP.Peers)
		}
		if err == nil && (s.Drain == nil || s.Drain.Stage != drain.Withdrawn) {
			err = fmt.Errorf("drain %v", s.Drain)
		}
		return err
	})
	stop()
	w.is(t, toldNone)
	if code := b.Agent.Stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	b.StartAgent(t)
	b.WaitAgent(t)
	if _, err := b.Penstock("undrain"); err != nil {
		t.Error(err)
	}
	l.WaitRoutes(t, 2)
	servers(t, l, lab.VIP4, 3)
	servers(t, l, lab.VIP6, 3)
}
