package netns

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bgp/wire"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// malformed are attributes that GoBGP v3's parser is known to end a process for, or a session: the agent
// gets each of them while traffic flows. bgp.TestHostileRouter has the whole table.
var malformed = map[string]string{
	"AS4_PATH before AS_PATH":  "400101 00 c01106 0201 0000fc00 400206 0201 0000fc00 400304 0a010164",
	"NEXT_HOP of no bytes":     "400101 00 400206 0201 0000fc00 400300",
	"NEXT_HOP of 5 bytes":      "400101 00 400206 0201 0000fc00 400305 0a01010101",
	"AIGP TLV of length 0":     "400101 00 400206 0201 0000fc00 400304 0a010164 801a03 010000",
	"SRv6 sub-TLV of length 0": "400101 00 400206 0201 0000fc00 400304 0a010164 c02807 05 0004 00 01 0000",
	"EVPN type 2 cut":          "400101 00 400206 0201 0000fc00 800e0d 0019 46 04 0a010101 00 02 03 000000",
	"a network of /255":        "400101 00 400206 0201 0000fc00 800e0c 0001 01 04 0a010101 00 ff 0102",
	"a length that lies":       "400101 00 4002ff 0201",
}

// rogue is a router that has sessions as any, and sends what none should.
type rogue struct {
	listener net.Listener
	running  sync.WaitGroup

	mu       sync.Mutex
	sessions int
}

// roguePort is not FRR's, which listens in the same namespace.
const roguePort = 1179

func startRogue(t *testing.T, n *fixture.Netns, addr netip.Addr) *rogue {
	t.Helper()
	r := &rogue{}
	err := n.Do(func() (err error) {
		r.listener, err = net.Listen("tcp", netip.AddrPortFrom(addr, roguePort).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.running.Go(func() {
		for {
			conn, err := r.listener.Accept()
			if err != nil {
				return
			}
			r.running.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		r.listener.Close()
		r.running.Wait()
	})
	return r
}

// serve has one session: the handshake, all that is malformed, and a framing error that ends it.
func (r *rogue) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if m, err := wire.Read(conn); err != nil || m.Type != wire.TypeOpen {
		return
	}
	open := wire.Open{AS: lab.RouterASN, HoldTime: 9, ID: netip.MustParseAddr("192.0.2.200"), Capabilities: []wire.Capability{
		{Code: wire.CapMultiprotocol, Value: []byte{0, 1, 0, 1}}, {Code: wire.CapMultiprotocol, Value: []byte{0, 2, 0, 1}},
		{Code: wire.CapFourOctetAS, Value: binary.BigEndian.AppendUint32(nil, lab.RouterASN)},
	}}
	_, _ = conn.Write(append(open.Message().Bytes(), wire.Keepalive.Bytes()...))
	if m, err := wire.Read(conn); err != nil || m.Type != wire.TypeKeepalive {
		return
	}
	r.mu.Lock()
	r.sessions++
	r.mu.Unlock()
	for _, text := range malformed {
		attrs, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			panic(err)
		}
		body := append(binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs))), attrs...)
		_, _ = conn.Write(wire.Message{Type: wire.TypeUpdate, Body: append(body, 24, 198, 51, 100)}.Bytes())
	}
	_, _ = conn.Write(make([]byte, 64))
	for {
		if _, err := wire.Read(conn); err != nil {
			return // the NOTIFICATION is read, and the end
		}
	}
}

// established counts the sessions that there have been.
func (r *rogue) established() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions
}

// TestHostileRouter has one of a node's routers send what none should, again and again. No request
// fails, the node's other sessions and the routes stay, and the agent is the one that it was.
func TestHostileRouter(t *testing.T) {
	l := site(t, lab.Options{LBs: 1, Nodes: 2})
	b := l.LBs[0]
	before := states(t, b)
	pid := b.Agent.Pid()
	rogues := map[string]*rogue{}
	text := read(t, b.Config())
	head, tail, _ := strings.Cut(text, "  - {name: tor4")
	for name, addr := range map[string]string{"rogue4": "10.0.1.200", "rogue6": "fd00:0:1::200"} {
		a := netip.MustParseAddr(addr)
		l.Router.AddAddr(t, "lb1", netip.PrefixFrom(a, map[bool]int{true: 24, false: 64}[a.Is4()]).String())
		rogues[name] = startRogue(t, l.Router, a)
		head += fmt.Sprintf("  - {name: %s, address: %q, port: %d, asn: %d, holdTime: 3s, keepaliveTime: 1s, connectRetry: 1s}\n", name, addr, roguePort, lab.RouterASN)
	}
	loads := []load{startLoad(t, l, lab.VIP4, 15*time.Second), startLoad(t, l, lab.VIP6, 15*time.Second)}
	if err := os.WriteFile(b.Config(), []byte(head+"  - {name: tor4"+tail), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, r := range rogues {
		fixture.Wait(t, 60*time.Second, name+" to have had three sessions", func() error {
			if n := r.established(); n < 3 {
				return fmt.Errorf("%d, and %+v", n, states(t, b)[name])
			}
			return nil
		})
	}
	for _, w := range loads {
		w.check(t)
	}
	now := states(t, b)
	for name, was := range before {
		if got := now[name]; !got.Since.Equal(was.Since) || got.Flaps != 0 || got.State != bgp.Established {
			t.Errorf("the session with %s was disturbed: %+v, before %+v", name, got, was)
		}
	}
	for name := range rogues {
		if got := now[name]; got.Malformed == 0 || got.Causes[bgp.CauseProtocol] == 0 {
			t.Errorf("nothing of what %s sent was told: %+v", name, got)
		}
	}
	if got := b.Agent.Pid(); got != pid {
		t.Errorf("the agent was process %d and is %d", pid, got)
	}
	l.WaitRoutes(t, 1)
}
