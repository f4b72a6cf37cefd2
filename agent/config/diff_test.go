package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	const peers = `
bgp:
  asn: 64512
  peers:
    - {name: tor1, address: 192.0.2.1, asn: 64513}
    - {name: tor2, address: 192.0.2.2, asn: 64513}
`
	const pools = `
pools:
  - {name: a, addresses: [192.0.2.0/24]}
  - {name: b, addresses: ["2001:db8::/64"], serviceSelector: "!internal, tier=web"}
`
	const adverts = `
bgp:
  advertisements:
    - {name: a, localPref: 0}
    - {name: b, communities: [64512:7, 64512:1, no-export]}
`
	tests := []struct {
		name     string
		old, new string
		want     Changes
	}{
		{name: "same", old: peers, new: peers},
		{name: "spelled differently", old: "nat: {timeouts: {established: 3h}}", new: "nat: {timeouts: {established: 180m}}"},
		{name: "live", old: "", new: "log: {level: debug}\ndatapath: {interfaces: [eth0, eth1]}",
			want: Changes{Live: []Change{{"datapath.interfaces", "", "eth0,eth1"}, {"log.level", "info", "debug"}}}},
		{name: "restart", old: "", new: "nat: {ports: 2000-3000}",
			want: Changes{Restart: []Change{{"nat.ports", "1024-29999", "2000-3000"}}}},
		{name: "seed", old: "datapath: {seed: old}", new: "datapath: {seed: new}",
			want: Changes{Restart: []Change{{"datapath.seed", redacted, redacted}}}},
		{name: "peers", old: peers, new: `
bgp:
  asn: 64512
  peers:
    - {name: tor2, address: 192.0.2.2, asn: 64513, holdTime: 30s}
    - {address: "2001:db8::1", asn: 64513}
`,
			want: Changes{Live: []Change{
				{"bgp.peers[tor1]", "192.0.2.1 AS 64513", ""},
				{"bgp.peers[tor2].holdTime", "9s", "30s"},
				{"bgp.peers[2001:db8::1]", "", "2001:db8::1 AS 64513"},
			}}},
		{name: "advertisements in another order", old: adverts, new: `
bgp:
  advertisements:
    - {name: c}
    - {name: b, communities: [no-export, "64512:7", "64512:1"]}
    - {name: a, localPref: 0}
`,
			want: Changes{Live: []Change{
				{"bgp.advertisements[c]", "", "advertisement c"},
				{"bgp.advertisements", "a,b", "b,a"},
			}}},
		{name: "advertisements", old: adverts, new: `
bgp:
  advertisements:
    - {name: b, communities: [graceful-shutdown], linkBandwidth: 2500000k, med: 0}
`,
			want: Changes{Live: []Change{
				{"bgp.advertisements[a]", "advertisement a", ""},
				{"bgp.advertisements[b].communities", "64512:1,64512:7,no-export", "graceful-shutdown"},
				{"bgp.advertisements[b].med", "", "0"},
				{"bgp.advertisements[b].linkBandwidth", "", "2500M"},
			}}},
		{name: "pools in another order", old: pools, new: `
pools:
  - {name: b, addresses: ["2001:db8::/64"], serviceSelector: "tier=web,!internal"}
  - {name: a, addresses: [192.0.2.0-192.0.2.255]}
`},
		{name: "pools", old: pools, new: `
pools:
  - {name: b, addresses: ["2001:db8::/64"], priority: -3, serviceSelector: tier in (web)}
  - {name: c, addresses: [192.0.2.0/25, 198.51.100.7]}
`,
			want: Changes{Live: []Change{
				{"pools[a]", "192.0.2.0/24", ""},
				{"pools[b].priority", "0", "-3"},
				{"pools[b].serviceSelector", "!internal,tier=web", "tier in (web)"},
				{"pools[c]", "", "192.0.2.0/25,198.51.100.7/32"},
			}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Diff(mustParse(t, tt.old), mustParse(t, tt.new))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if got.Empty() != (diff(tt.want) == 0) {
				t.Errorf("Empty = %v", got.Empty())
			}
		})
	}
}

func TestBrief(t *testing.T) {
	for want, c := range map[string]Change{
		"pools[a] removed":       {"pools[a]", "192.0.2.0/24", ""},
		"pools[b] added":         {"pools[b]", "", "192.0.2.0/24"},
		"pools[b].priority":      {"pools[b].priority", "0", "1"},
		"datapath.interfaces":    {"datapath.interfaces", "eth0", ""},
		"bgp.peers[::1] removed": {"bgp.peers[::1]", "::1 AS 1", ""},
	} {
		if got := c.Brief(); got != want {
			t.Errorf("%s: %q, want %q", c, got, want)
		}
	}
}

func diff(c Changes) int { return len(c.Live) + len(c.Restart) }

// Every setting is compared: no key can change unnoticed.
func TestDiffCoversEveryKey(t *testing.T) {
	for _, s := range settings {
		changed := Default()
		at := s.at(changed)
		for _, text := range []string{"x", "false", "true", "17", "17s", "backend", "nat", "192.0.2.1", "generic", "drop", "restart", "debug", "json", "5-6", "kubernetes"} {
			if err := at.Set(text); err == nil && at.String() != s.at(Default()).String() {
				break
			}
		}
		c := Diff(Default(), changed)
		got := c.Restart
		if s.Live {
			got = c.Live
		}
		if len(got) != 1 || got[0].Key != s.Name || diff(c) != 1 {
			t.Errorf("%s: Diff = %+v", s.Name, c)
		}
	}
}
