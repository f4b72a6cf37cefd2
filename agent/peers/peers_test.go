package peers

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/bgp"
)

func parse(t testing.TB, peers ...string) []config.Peer {
	t.Helper()
	cfg, err := config.Parse("test", []byte("bgp:\n  asn: 64512\n  peers:\n  - {asn: 64513, "+strings.Join(peers, "}\n  - {asn: 64513, ")+"}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.BGP.Peers
}

// node is one of a rack, with gateways as in "192.0.2.1 fe80::1%eth0 ipv4=fe80::2%eth0".
func node(rack, gateways string) Node {
	n := Node{Name: "lb1", Known: rack != "", Gateways: map[bgp.Family][]netip.Addr{}}
	if rack != "" {
		n.Labels = map[string]string{"rack": rack}
	}
	for text := range strings.FieldsSeq(gateways) {
		text, ipv4 := strings.CutPrefix(text, "ipv4=")
		a, family := netip.MustParseAddr(text), bgp.IPv6
		if a.Is4() || ipv4 {
			family = bgp.IPv4
		}
		n.Gateways[family] = append(n.Gateways[family], a)
	}
	return n
}

func (s Set) words() string {
	var parts []string
	for _, p := range s.Peers {
		at := p.Address.String()
		if !p.Address.IsValid() {
			at = p.Interface
		}
		parts = append(parts, p.Name+"="+at)
	}
	return strings.Join(parts, " ")
}

func TestResolve(t *testing.T) {
	type step struct{ rack, gateways, want, problem string }
	tests := []struct {
		name  string
		peers []string
		steps []step
	}{
		{"everywhere", []string{"name: a, address: 192.0.2.1", `name: b, address: "2001:db8::1"`, "name: c, interface: eth1"},
			[]step{{"", "", "a=192.0.2.1 b=2001:db8::1 c=eth1", ""}}},
		{"by name", []string{"name: a, address: 192.0.2.1, nodes: [lb1, lb2]", `name: b, address: "2001:db8::1", nodes: [lb2]`},
			[]step{{"", "", "a=192.0.2.1", ""}}},
		{"by label", []string{"name: a, address: 192.0.2.1, nodeSelector: rack=1", `name: b, address: "2001:db8::1", nodeSelector: "rack in (2, 3)"`},
			[]step{{"1", "", "a=192.0.2.1", ""}, {"2", "", "b=2001:db8::1", ""}, {"9", "", "", ""}}},
		{"by name and label", []string{"name: a, address: 192.0.2.1, nodes: [lb1], nodeSelector: rack=1", "name: b, address: 192.0.2.2, nodes: [lb2], nodeSelector: rack=1"},
			[]step{{"1", "", "a=192.0.2.1", ""}, {"2", "", "", ""}}},
		{"labels not known yet, and not known any more", []string{"name: a, address: 192.0.2.1, nodeSelector: rack=1", "name: b, address: 192.0.2.2"},
			[]step{
				{"", "", "b=192.0.2.2", "a: nodeSelector rack=1 cannot be judged, as the source has no Node lb1"},
				{"1", "", "a=192.0.2.1 b=192.0.2.2", ""},
				{"", "", "a=192.0.2.1 b=192.0.2.2", "a: nodeSelector rack=1 cannot be judged"},
				{"2", "", "b=192.0.2.2", ""},
			}},
		{"one router of two entries by label", []string{"name: a, address: 192.0.2.1, nodeSelector: rack", "name: b, address: 192.0.2.1, nodeSelector: rack=1"},
			[]step{{"1", "", "a=192.0.2.1", "b: the router 192.0.2.1 is peer a already"}}},
		{"one device of two entries by label", []string{"name: a, interface: eth1, nodeSelector: rack", "name: b, interface: eth1, nodeSelector: rack=1", "name: c, interface: eth2"},
			[]step{{"1", "", "a=eth1 c=eth2", "b: the router on eth1 is peer a already"}}},
		{"gateway of each family", []string{"name: g4, gateway: ipv4", "name: g6, gateway: ipv6"},
			[]step{
				{"", "", "", "g4: this node has no ipv4 default route with a gateway; add one"},
				{"", "192.0.2.1 fe80::1%eth0", "g4=192.0.2.1 g6=fe80::1%eth0", ""},
				{"", "192.0.2.2 fe80::1%eth1", "g4=192.0.2.2 g6=fe80::1%eth1", ""},
				{"", "", "g4=192.0.2.2 g6=fe80::1%eth1", "g4: this node has no ipv4 default route with a gateway; the router of before is kept"},
				{"", "192.0.2.2", "g4=192.0.2.2 g6=fe80::1%eth1", "g6: this node has no ipv6 default route"},
			}},
		{"several gateways keep their names", []string{"name: g, gateway: ipv4"},
			[]step{
				{"", "192.0.2.2 192.0.2.1 192.0.2.2", "g-1=192.0.2.1 g-2=192.0.2.2", ""},
				{"", "192.0.2.2 192.0.2.0", "g-1=192.0.2.0 g-2=192.0.2.2", ""},
				{"", "192.0.2.2", "g-2=192.0.2.2", ""},
				{"", "192.0.2.2 192.0.2.9 192.0.2.1", "g-1=192.0.2.1 g-2=192.0.2.2 g-3=192.0.2.9", ""},
				{"", "192.0.2.7", "g=192.0.2.7", ""},
				{"", "192.0.2.7 192.0.2.1", "g-2=192.0.2.1 g=192.0.2.7", ""},
				{"", "", "g-2=192.0.2.1 g=192.0.2.7", "g: this node has no"},
			}},
		{"a gateway that its entry does not fit", []string{"name: g4, gateway: ipv4, localAddress: 192.0.2.9", "name: g6, gateway: ipv6, bfd: true, bfdMultihop: true", "name: a, address: 192.0.2.7"},
			[]step{
				{"", "192.0.2.1 2001:db8::1", "g4=192.0.2.1 g6=2001:db8::1 a=192.0.2.7", ""},
				{"", "192.0.2.1 fe80::1%eth0", "g4=192.0.2.1 a=192.0.2.7", "g6: the router fe80::1%eth0 cannot be a peer: BFD: multihop on interface eth0"},
			}},
		{"an IPv4 route by IPv6 that its entry does not fit", []string{"name: g4, gateway: ipv4, localAddress: 192.0.2.9", `name: a, address: "2001:db8::7"`},
			[]step{{"", "ipv4=fe80::1%eth0", "a=2001:db8::7", "g4: the router fe80::1%eth0 cannot be a peer: local address 192.0.2.9 does not fit"}}},
		{"a gateway that is a peer already", []string{"name: a, address: 192.0.2.1", "name: g, gateway: ipv4"},
			[]step{{"", "192.0.2.1 192.0.2.2", "a=192.0.2.1 g-2=192.0.2.2", "g: the router 192.0.2.1 is peer a already"}}},
		{"a gateway of some nodes", []string{"name: g, gateway: ipv4, nodeSelector: rack=1"},
			[]step{{"2", "192.0.2.1", "", ""}, {"1", "192.0.2.1", "g=192.0.2.1", ""}, {"", "192.0.2.2", "g=192.0.2.2", "cannot be judged"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			configured, before := parse(t, tt.peers...), Set{}
			for i, s := range tt.steps {
				got := Resolve(configured, node(s.rack, s.gateways), before)
				if got.words() != s.want {
					t.Errorf("step %d: %q, want %q", i+1, got.words(), s.want)
				}
				if problems := fmt.Sprint(got.Problems); (len(got.Problems) > 0) != (s.problem != "") || !strings.Contains(strings.ReplaceAll(problems, "{", ""), strings.Replace(s.problem, ":", "", 1)) {
					t.Errorf("step %d: problems %s, want %q", i+1, problems, s.problem)
				}
				before = got
			}
		})
	}
}

// An edit of an entry reaches the peers that it is, also where nothing says which they are.
func TestResolveEdited(t *testing.T) {
	before := Resolve(parse(t, "name: g, gateway: ipv4"), node("", "192.0.2.1 192.0.2.2"), Set{})
	after := Resolve(parse(t, "name: g, gateway: ipv4, maxPrefixes: 7"), node("", ""), before)
	if after.words() != before.words() {
		t.Fatalf("%q, before %q", after.words(), before.words())
	}
	for _, p := range after.BGP() {
		if p.MaxPrefixes != 7 {
			t.Errorf("%s has maxPrefixes %d", p.Name, p.MaxPrefixes)
		}
	}
	if d := cmp.Diff([]string{"g-1", "g-2"}, after.Of("g")); d != "" {
		t.Error(d)
	}
}

func TestFamiliesOfGateway(t *testing.T) {
	n := Node{Gateways: map[bgp.Family][]netip.Addr{bgp.IPv4: {netip.MustParseAddr("fe80::1%eth0")}}}
	got := Resolve(parse(t, "name: g, gateway: ipv4"), n, Set{}).BGP()
	if len(got) != 1 || len(got[0].Families) != 1 || got[0].Families[0] != bgp.IPv4 {
		t.Errorf("peers %+v, want IPv4 routes over IPv6", got)
	}
}

func TestWhy(t *testing.T) {
	if got := Resolve(nil, node("1", ""), Set{}).Why("lb1"); got != "" {
		t.Errorf("without a peer: %q", got)
	}
	s := Resolve(parse(t, "name: a, address: 192.0.2.1, nodes: [lb2, lb3]", "name: b, address: 192.0.2.2, nodeSelector: rack=2", "name: g, gateway: ipv6"), node("1", ""), Set{})
	const want = "no entry of bgp.peers is for node lb1: g: this node has no ipv6 default route with a gateway; add one, or give the router's address; a is for nodes lb2, lb3; b is for nodes with rack=2"
	if got := s.Why("lb1"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	many := make([]string, 50)
	for i := range many {
		many[i] = fmt.Sprintf("address: 192.0.2.%d, nodes: [a, b, c, d, e, f, g]", i+1)
	}
	if got := Resolve(parse(t, many...), node("1", ""), Set{}).Why("lb1"); !strings.HasSuffix(got, "192.0.2.4 is for nodes a, b, c, d and 3 more; and 46 more") {
		t.Errorf("of 50: %s", got)
	}
}
