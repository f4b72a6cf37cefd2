package differential

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"pgregory.net/rapid"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
	"github.com/penstock-lb/penstock/test/packet/model"
)

// TestDifferential holds the program against the model over random packets of
// random services. Any difference in verdict, action or bytes of the frame fails.
func TestDifferential(t *testing.T) {
	l := newLab(t)
	rapid.Check(t, func(rt *rapid.T) {
		l.clear(rt)
		g := &generator{T: rt, model: model.New(l.config()), ifindex: l.ifindex, now: time.Now()}
		g.want()
		l.sync(rt, g.model, g.wanted)
		for range rapid.IntRange(1, 60).Draw(rt, "packets") {
			if rapid.IntRange(0, 19).Draw(rt, "change services") == 19 {
				g.change()
				l.sync(rt, g.model, g.wanted)
				l.bounce(rt, g)
			}
			for _, frame := range g.frames() {
				l.send(rt, g, frame)
			}
			if rapid.IntRange(0, 9).Draw(rt, "bounce until somebody takes it") == 9 {
				l.bounce(rt, g)
			}
		}
	})
	for _, kind := range often {
		if l.seen[kind] == 0 && !t.Failed() {
			t.Errorf("no packet was %s: the generator does not reach it", kind)
		}
	}
	t.Log(l.seen)
}

// send is true if the frame went through a tunnel.
func (l *lab) send(t judge, g *generator, frame []byte) bool {
	special := g.sent(l.compare(t, g.model, frame))
	for _, s := range special {
		l.seen[s]++
	}
	return len(special) > 0
}

// bounce sends the latest tunnel packet back, until somebody takes it. It must end.
func (l *lab) bounce(t judge, g *generator) {
	taken := pick(g, "bounces", 1, 2, 3, 100)
	for turn := 0; turn < taken && len(g.tunnels) > 0; turn++ {
		if !l.send(t, g, packet.Tunnel(bounced(g.tunnels[len(g.tunnels)-1])).Frame()) {
			return
		}
		if turn > 19 { // the longest chain and the extra ranks, and one that was learned
			t.Fatalf("%d turns, and there is no end", turn)
		}
	}
}

// often are the verdicts, and kinds of tunnel packets, that a hundred sequences of
// packets have many times.
var often = []string{
	"pass_not_ip", "pass_not_vip", "forward", "forward_kernel", "reply", "reply_kernel", "icmp_echo", "icmp_forward", "icmp_reply",
	"reject_port", "reject_no_backend", "reject_ttl", "reject_too_big",
	"drop_malformed", "drop_fragment", "drop_protocol", "drop_icmp", "drop_source", "drop_source_range",
	"encap", "encap_kernel", "encap_next", "encap_next_kernel", "pass_probe", "drop_tunnel", "drop_tunnel_source", "drop_no_route",
	"IPv4 in IPv4", "IPv4 in IPv6", "IPv6 in IPv4", "IPv6 in IPv6", "datagram", "learned", "next owner", "far owner", "last owner",
}

// compare runs one frame through both and returns what the program made of it.
func (l *lab) compare(t judge, m *model.Model, frame []byte) []byte {
	action, out, verdict := l.run(t, frame)
	restarts := m.Restarts
	want, err := m.Process(frame, out)
	l.seen["begun anew"] += m.Restarts - restarts
	if want.Unsure {
		return out
	}
	if err != nil {
		t.Errorf("verdict %s: %v", verdict, err)
	}
	if verdict != want.Verdict || action != want.Action {
		t.Fatalf("verdict %s, action %d; want %s, action %d, for\n%s\n% x", verdict, action, want.Verdict, want.Action, packet.String(frame), frame)
	}
	l.seen[verdict]++
	if want.Frame != nil {
		if diff := packet.Diff(want.Frame, out); diff != "" {
			t.Fatalf("verdict %s: %s\nfor\n%s", verdict, diff, packet.String(frame))
		}
	}
	return out
}

// xdpMD is struct xdp_md of linux/bpf.h.
type xdpMD struct{ Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32 }

// run runs the program once and tells which counter moved.
func (l *lab) run(t judge, frame []byte) (action model.Action, out []byte, verdict string) {
	opts := &ebpf.RunOptions{
		Data: frame, DataOut: make([]byte, len(frame)+256),
		Context: xdpMD{DataEnd: uint32(len(frame)), IngressIfindex: l.ifindex["up0"]},
	}
	if l.before == nil {
		l.before = l.verdicts(t)
	}
	var ret uint32
	var err error
	l.do(func() { ret, err = l.lb.Program().Run(opts) })
	if err != nil {
		t.Fatalf("run the program on %d bytes: %v", len(frame), err)
	}
	after := l.verdicts(t)
	var moved []string
	for i, c := range after {
		for range c.Packets - l.before[i].Packets {
			moved = append(moved, c.Name)
		}
	}
	l.before = after
	if len(moved) != 1 {
		t.Fatalf("a packet moved the counters of verdicts %v", moved)
	}
	return model.Action(ret), opts.DataOut, moved[0]
}

func (l *lab) verdicts(t judge) []maps.VerdictCount {
	counts, err := l.tables.Verdicts()
	if err != nil {
		t.Fatal(err)
	}
	return counts
}
