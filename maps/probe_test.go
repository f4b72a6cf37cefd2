package maps

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/packet"
)

const loopback = 1 // lo's index, in every namespace

// family is what a test of both families puts together.
type family struct{ vip, backend, other, source, tunnel, client string }

var families = map[string]family{
	"ipv4": {"192.0.2.10", "10.0.0.1:8080", "10.0.0.2:8080", "192.0.2.1", "192.0.2.11", "203.0.113.0/24"},
	"ipv6": {"2001:db8::10", "[fd00::1]:8080", "[fd00::2]:8080", "2001:db8::1", "2001:db8::11", "2001:db8:c::/64"},
}

func TestProbe(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*Service, map[netip.Addr]NextHop)
		synced  bool // the service is in the tables
		verdict string
	}{
		{"translated", func(*Service, map[netip.Addr]NextHop) {}, true, ""},
		{"through a tunnel", func(s *Service, _ map[netip.Addr]NextHop) {
			for i := range s.Backends {
				s.Backends[i].Tunnel = netip.MustParseAddr(families[familyName(s)].tunnel)
			}
		}, true, ""},
		{"for some clients alone", func(s *Service, _ map[netip.Addr]NextHop) {
			*s = s.only(families[familyName(s)].client)
		}, true, ""},
		{"for one client and a network", func(s *Service, _ map[netip.Addr]NextHop) {
			c := netip.MustParsePrefix(families[familyName(s)].client).Addr()
			*s = s.only(netip.PrefixFrom(c, c.BitLen()).String(), netip.PrefixFrom(s.Frontends[0].VIP, s.Frontends[0].VIP.BitLen()).String())
		}, true, ""},
		{"by the client's address", func(s *Service, _ map[netip.Addr]NextHop) { s.Affinity = AffinityClientIP }, true, ""},
		{"unresolved, so that the kernel sends it", func(_ *Service, hops map[netip.Addr]NextHop) {
			for a, hop := range hops {
				hop.Ifindex = 77 // no such device
				hops[a] = hop
			}
		}, true, ""},
		{"one backend of two has no way", func(s *Service, hops map[netip.Addr]NextHop) {
			delete(hops, netip.MustParseAddrPort(families[familyName(s)].backend).Addr())
		}, true, ""},
		{"no backend has a way", func(_ *Service, hops map[netip.Addr]NextHop) { clear(hops) }, true, "drop_no_route"},
		{"no tunnel has a way", func(s *Service, hops map[netip.Addr]NextHop) {
			for i := range s.Backends {
				s.Backends[i].Tunnel = netip.MustParseAddr(families[familyName(s)].tunnel)
			}
			clear(hops)
		}, true, "drop_no_route"},
		{"no usable backend", func(s *Service, _ map[netip.Addr]NextHop) {
			for i := range s.Backends {
				s.Backends[i].Draining = true
			}
		}, true, "drop_no_backend"},
		{"for nobody", func(s *Service, _ map[netip.Addr]NextHop) { *s = s.only() }, true, "drop_source_range"},
		{"only for itself", func(s *Service, _ map[netip.Addr]NextHop) {
			*s = s.only(netip.PrefixFrom(s.Frontends[0].VIP, s.Frontends[0].VIP.BitLen()).String())
		}, true, "drop_source"},
		{"not in the tables", func(*Service, map[netip.Addr]NextHop) {}, false, "pass_not_vip"},
	} {
		for name, f := range families {
			for _, proto := range []Proto{TCP, UDP} {
				t.Run(tt.name+" "+name+" "+proto.String(), func(t *testing.T) {
					d := open(t, pins(t), 1<<12)
					defer d.close(t)
					s := svc("a", f.vip, f.backend, f.other)
					s.Frontends[0].Proto = proto
					hops := map[netip.Addr]NextHop{}
					for _, a := range []netip.Addr{s.Backends[0].Addr.Addr(), s.Backends[1].Addr.Addr(), netip.MustParseAddr(f.tunnel)} {
						hops[a] = NextHop{Ifindex: loopback, DstMAC: MAC{2, 0, 0, 0, 0, 1}, Source: netip.MustParseAddr(f.source)}
					}
					tt.change(&s, hops)
					if tt.synced {
						if err := d.Sync(context.Background(), Want{Services: []Service{s}, NextHops: hops}); err != nil {
							t.Fatal(err)
						}
					}
					before := counters(t, d.Tables)
					got, err := d.Probe(s, s.Frontends[0], loopback)
					if want := (ProbeResult{Forwards: tt.verdict == "", Verdict: tt.verdict}); got != want || err != nil {
						t.Errorf("%+v, %v, want %+v", got, err, want)
					}
					if flows, err := d.Flows(); err != nil || flows.Entries != 0 {
						t.Errorf("%d halves of flows are left, %v", flows.Entries, err)
					}
					if n := len(moved(before, counters(t, d.Tables))); n > 1 && len(hops) == 3 {
						t.Errorf("%d verdicts moved", n)
					}
				})
			}
		}
	}
}

func familyName(s *Service) string {
	if s.Frontends[0].VIP.Is6() {
		return "ipv6"
	}
	return "ipv4"
}

func counters(t *testing.T, tables *Tables) []VerdictCount {
	t.Helper()
	counts, err := tables.Verdicts()
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func moved(before, after []VerdictCount) (names []string) {
	for i := range after {
		if after[i].Packets != before[i].Packets {
			names = append(names, after[i].Name)
		}
	}
	return names
}

// A client that has the very flow that a probe would take keeps it.
func TestProbeLeavesClientsFlows(t *testing.T) {
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			d := open(t, pins(t), 1<<12)
			defer d.close(t)
			s := svc("a", f.vip, f.backend).only(f.client)
			hops := map[netip.Addr]NextHop{s.Backends[0].Addr.Addr(): {Ifindex: loopback, Source: netip.MustParseAddr(f.source)}}
			if err := d.Sync(context.Background(), Want{Services: []Service{s}, NextHops: hops}); err != nil {
				t.Fatal(err)
			}
			for i, client := range clientsOf(s, s.Frontends[0].VIP) {
				p := probe{s.Frontends[0], netip.AddrPortFrom(client, uint16(i+1))}
				if got, err := d.Probe(s, s.Frontends[0], loopback); !got.Forwards || err != nil {
					t.Fatalf("with %d of its flows in use: %+v, %v", i, got, err)
				}
				if _, _, err := d.lb.Run(p.frame(), loopback); err != nil {
					t.Fatal(err)
				}
			}
			before, err := d.Flows()
			if err != nil || before.Entries != 2*probes {
				t.Fatalf("%d halves, %v", before.Entries, err)
			}
			if _, err := d.Probe(s, s.Frontends[0], loopback); err == nil || !strings.Contains(err.Error(), f.vip) {
				t.Errorf("with all of them in use: %v", err)
			}
			if after, err := d.Flows(); err != nil || after.Entries != before.Entries {
				t.Errorf("%d halves are left of %d, %v", after.Entries, before.Entries, err)
			}
		})
	}
}

// A node without a free port has flows, which would end with their VIP.
func TestProbeWithoutAFreePort(t *testing.T) {
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			d := openPorts(t, pins(t), 1<<12, bpf.PortRange{First: 1024, Last: 1027})
			defer d.close(t)
			s := svc("a", f.vip, f.backend)
			hops := map[netip.Addr]NextHop{s.Backends[0].Addr.Addr(): {Ifindex: loopback, Source: netip.MustParseAddr(f.source)}}
			if err := d.Sync(context.Background(), Want{Services: []Service{s}, NextHops: hops}); err != nil {
				t.Fatal(err)
			}
			client := netip.MustParsePrefix(f.client).Addr().Next()
			for port := range uint16(4) {
				if _, _, err := d.lb.Run(probe{s.Frontends[0], netip.AddrPortFrom(client, port+1)}.frame(), loopback); err != nil {
					t.Fatal(err)
				}
			}
			got, err := d.Probe(s, s.Frontends[0], loopback)
			if err == nil || !strings.Contains(err.Error(), "drop_ports_exhausted") || !strings.Contains(err.Error(), f.vip) {
				t.Errorf("%+v, %v", got, err)
			}
			if flows, err := d.Flows(); err != nil || flows.Entries != 2*4 {
				t.Errorf("%d halves of flows, %v", flows.Entries, err)
			}
		})
	}
}

// The names are the program's.
func TestVerdictsOfAFullNode(t *testing.T) {
	all, err := bpf.Verdicts()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range full {
		if !slices.ContainsFunc(all, func(v bpf.VerdictName) bool { return v.Name == name }) {
			t.Errorf("the program has no verdict %s", name)
		}
	}
}

func TestProbeOfADeviceThatIsNotThere(t *testing.T) {
	d := open(t, pins(t), 1<<12)
	defer d.close(t)
	s := svc("a", "192.0.2.10", "10.0.0.1:80")
	if got, err := d.Probe(s, s.Frontends[0], 1<<30); err == nil || !strings.Contains(err.Error(), "192.0.2.10:80/tcp") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestProbeFrames(t *testing.T) {
	for _, tt := range []struct{ client, vip string }{
		{"198.18.0.1:1", "192.0.2.10"}, {"255.255.255.254:65535", "255.255.255.255"},
		{"[2001:2::1]:8", "2001:db8::10"}, {"[ffff:ffff::ffff]:65535", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	} {
		client, vip := netip.MustParseAddrPort(tt.client), netip.MustParseAddr(tt.vip)
		for proto, want := range map[Proto]packet.Packet{
			TCP: packet.TCP(client, netip.AddrPortFrom(vip, 443), packet.SYN, nil),
			UDP: packet.UDP(client, netip.AddrPortFrom(vip, 443), nil),
		} {
			frame := probe{Frontend{vip, 443, proto}, client}.frame()
			if err := packet.Verify(frame); err != nil {
				t.Errorf("%s from %s: %v", proto, client, err)
			}
			if len(frame) != len(want.Frame()) {
				t.Errorf("%s from %s has %d bytes, want %d:\n%s", proto, client, len(frame), len(want.Frame()), packet.String(frame))
			}
			if got := destination(frame); got != vip {
				t.Errorf("%s to %s goes to %s", proto, vip, got)
			}
			tagged := append(append(append([]byte{}, frame[:12]...), 0x81, 0, 0, 7), frame[12:]...)
			if got := destination(tagged); got != vip {
				t.Errorf("%s to %s in VLAN 7 goes to %s", proto, vip, got)
			}
		}
	}
	if got := destination([]byte{12: 8, 13: 6, 60: 0}); got.IsValid() { // ARP
		t.Errorf("ARP goes to %s", got)
	}
}

// RFC 768: a checksum that comes to 0 is sent as all ones, for 0 says that there is none.
func TestProbeFramesHaveAChecksum(t *testing.T) {
	for port := range 1 << 16 {
		p := probe{Frontend{netip.MustParseAddr("2001:db8::10"), 53, UDP}, netip.AddrPortFrom(netip.MustParseAddr("2001:2::1"), uint16(port))}
		if s := p.segment(); s[6] == 0 && s[7] == 0 {
			t.Errorf("from port %d there is none", port)
		}
	}
}

func TestOutcomes(t *testing.T) {
	p := probe{Frontend{netip.MustParseAddr("192.0.2.10"), 80, TCP}, netip.MustParseAddrPort("198.18.0.1:1")}
	to := netip.MustParseAddr
	for _, tt := range []struct {
		name                string
		end                 outcome
		forwarded, rejected bool
		actions             string
	}{
		{"sent back by the device that it came in by", outcome{bpf.Transmit, to("10.0.0.1")}, true, false, "forward encap"},
		{"sent by another device", outcome{bpf.Redirect, to("10.0.0.1")}, true, false, "forward encap"},
		{"the kernel sends it", outcome{bpf.Pass, to("10.0.0.1")}, true, false, "forward encap"},
		{"an ICMP error", outcome{bpf.Transmit, to("198.18.0.1")}, false, true, "reject"},
		{"left alone", outcome{bpf.Pass, to("192.0.2.10")}, false, false, "pass"},
		{"dropped", outcome{bpf.Drop, to("10.0.0.1")}, false, false, "drop"},
		{"aborted", outcome{bpf.Aborted, to("10.0.0.1")}, false, false, "abort"},
		{"no IP", outcome{bpf.Transmit, netip.Addr{}}, false, false, "pass"},
	} {
		if tt.end.forwarded(p) != tt.forwarded || tt.end.rejected(p) != tt.rejected || strings.Join(actionsOf(tt.end, p), " ") != tt.actions {
			t.Errorf("%s: forwarded %v, rejected %v, %s", tt.name, tt.end.forwarded(p), tt.end.rejected(p), actionsOf(tt.end, p))
		}
	}
}

func TestProbesClients(t *testing.T) {
	for name, want := range map[string][]string{
		"192.0.2.10":                                {"198.18.0.1", "198.18.0.2", "198.18.0.3"},
		"2001:db8::10":                              {"2001:2::1", "2001:2::2", "2001:2::3"},
		"192.0.2.10 only 203.0.113.0/31":            {"203.0.113.1", "203.0.113.1", "203.0.113.1"},
		"192.0.2.10 only 0.0.0.0/0":                 {"198.18.0.1", "198.18.0.2", "198.18.0.3"},
		"192.0.2.10 only 203.0.113.7/32 10.0.0.0/8": {"203.0.113.7", "10.0.0.1", "203.0.113.7"},
		"2001:db8::10 only 2001:db8:c::/64":         {"2001:db8:c::1", "2001:db8:c::2", "2001:db8:c::3"},
		"192.0.2.10 only":                           nil,
	} {
		words := strings.Fields(name)
		s := svc("a", words[0])
		if len(words) > 1 {
			s = s.only(words[2:]...)
		}
		var got []string
		for _, a := range clientsOf(s, s.Frontends[0].VIP) {
			got = append(got, a.String())
		}
		if d := cmp.Diff(want, got[:min(3, len(got))]); d != "" && len(want)+len(got) > 0 {
			t.Errorf("%s: want -, got +\n%s", name, d)
		}
	}
}

func BenchmarkProbe(b *testing.B) {
	d := open(b, pins(b), 1<<12)
	defer d.close(b)
	s := svc("a", "192.0.2.10", "10.0.0.1:80")
	hops := map[netip.Addr]NextHop{s.Backends[0].Addr.Addr(): {Ifindex: loopback, Source: netip.MustParseAddr("192.0.2.1")}}
	if err := d.Sync(context.Background(), Want{Services: []Service{s}, NextHops: hops}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got, err := d.Probe(s, s.Frontends[0], loopback); !got.Forwards || err != nil {
			b.Fatal(got, err)
		}
	}
}
