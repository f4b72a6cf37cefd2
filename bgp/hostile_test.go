package bgp_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// rogues are the hostile routers of a family; several so that cases run side by side.
const rogues = 10

// TestHostileRouter has routers send what no router should. Whatever it is, the process lives, the
// session goes on or ends with the NOTIFICATION that says why and comes back, and the session with an
// innocent router, and its routes, are never touched.
func TestHostileRouter(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2, 1)
	innocent := l.startFRR(2)
	cfg := l.config(1)
	cfg.Peers = cfg.Peers[2:]
	cfg.GracefulRestart = bgp.GracefulRestart{Enabled: true}
	pools := map[bgp.Family][]*rogue{}
	for i := range rogues {
		for family, at := range map[bgp.Family]struct{ addr, bits, vip string }{
			bgp.IPv4: {v4(1, 1, 100+i), "/24", vipA4}, bgp.IPv6: {v6(1, 1, 100+i), "/64", vipA6},
		} {
			l.tors[0].AddAddr(t, "lb1", at.addr+at.bits)
			r := newRogue(t, l.tors[0], fmt.Sprintf("rogue%d-%s", i, family), at.addr, at.vip)
			cfg.Peers = append(cfg.Peers, r.asPeer())
			pools[family] = append(pools[family], r)
		}
	}
	s := startSpeaker(t, l.lbs[0], cfg)
	s.sync(vipA4, vipA6)
	for _, vip := range []string{vipA4, vipA6} {
		waitFIB(t, l.tors[1], vip, "lb1")
	}
	before := []bgp.PeerState{s.peer("tor2-v4"), s.peer("tor2-v6")}
	m := monitorRoutes(t, l.tors[1])

	var running sync.WaitGroup
	for family, pool := range pools {
		queue := make(chan hostileCase)
		for _, r := range pool {
			running.Go(func() {
				for c := range queue {
					t.Run(c.name+"/"+string(family), func(t *testing.T) { c.try(t, r, s) })
				}
			})
		}
		running.Go(func() {
			for _, c := range hostileCases() {
				if c.family == "" || c.family == family {
					queue <- c
				}
			}
			close(queue)
		})
	}
	running.Wait()

	for _, was := range before {
		if got := s.peer(was.Name); got.Flaps != 0 || !got.Since.Equal(was.Since) || got.Malformed != 0 {
			t.Errorf("the innocent session was disturbed: %+v, before %+v", got, was)
		}
	}
	if got := m.changes(vipA4, vipA6); len(got) != 0 {
		t.Errorf("the innocent router's routes were changed: %q", got)
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		table, err := rib(innocent, family)
		if err != nil || len(table) != 1 {
			t.Errorf("the innocent router has %v, %v; want our VIP alone", table, err)
		}
	}
	if rss := residentMiB(t, s.proc.Process); rss > 300 {
		t.Errorf("the process has grown to %d MiB", rss)
	} else {
		t.Logf("the process has %d MiB in the end", rss)
	}
}

// residentMiB is a process's memory.
func residentMiB(t *testing.T, p *fixture.Process) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

// try has a rogue do what the case is about, and leaves it with a good session.
func (c hostileCase) try(t *testing.T, r *rogue, s *speaker) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			r.hangUp()
			t.Fatalf("%v; the speaker says %+v", err, s.peer(r.peer))
		}
	}
	good := r.open().Message().Bytes()
	if c.open != nil {
		r.hangUp()
		if c.stays() {
			must(r.establish(c.open(r)))
		} else {
			must(r.accept())
			must(r.send(c.open(r)))
		}
	} else if r.conn == nil {
		must(r.establish(good))
	}
	if c.silence {
		r.hush(true)
	}
	if c.messages != nil {
		must(r.send(c.messages(r)...))
	}
	if c.stays() {
		must(r.lives())
	} else {
		n, err := r.end()
		must(err)
		if n.Code != c.code || n.Subcode != c.subcode {
			t.Errorf("the speaker said %d/%d (%s), want %d/%d", n.Code, n.Subcode, n, c.code, c.subcode)
		}
		must(r.establish(good)) // which bounds how long it takes
	}
	if got := s.peer("tor2-v4"); got.Flaps != 0 {
		t.Errorf("the innocent session was lost: %+v", got)
	}
}

// stays says that the session is to go on.
func (c hostileCase) stays() bool { return c.code == 0 && !c.gone }

// hostileCase is what a rogue does, and how it is to end.
type hostileCase struct {
	name   string
	family bgp.Family // empty for both
	// open is said instead of a good OPEN, and messages in an established session.
	open     func(r *rogue) []byte
	messages func(r *rogue) [][]byte
	silence  bool // no keepalives any more

	code, subcode uint8 // of the speaker's NOTIFICATION; 0 for a session that stays
	gone          bool  // ends without one
}
