package config

import (
	"strings"
	"testing"
)

func TestDump(t *testing.T) {
	const full = `
node: lb1
vips: [192.0.2.0/24, "2001:db8::/64"]
datapath: {seed: hidden, interfaces: [eth0, eth1]}
log: {level: debug}
bgp:
  asn: 64512
  peers:
    - {name: tor1, address: 192.0.2.254, asn: 64513, families: [ipv4, ipv6], nextHop6: "2001:db8::9", nodes: [lb1, lb2], nodeSelector: "rack in (a, b)"}
    - {asn: 64513, interface: eth1, bfd: true}
    - {asn: 64513, gateway: ipv6}
  advertisements:
    - {name: few, pools: [a], peers: [tor1], communities: [no-export, "64512:1"], largeCommunities: ["64512:1:2"], med: 0, localPref: 50, linkBandwidth: 10G}
    - {name: rest, serviceSelector: "tier in (a, b)", prepend: 2, linkBandwidth: auto, aggregateLength4: 24, aggregateLength6: 64, aggregateOnly: true}
pools: [{name: a, addresses: [192.0.2.0/25, "2001:db8::1-2001:db8::8"], serviceSelector: tier=web}]
`
	cfg := mustParse(t, full)
	dump := InForce(cfg, cfg)
	back, err := dump.Config()
	if err != nil {
		t.Fatal(err)
	}
	if dump.Values["datapath.seed"] != redacted {
		t.Errorf("the seed is %q", dump.Values["datapath.seed"])
	}
	cfg.Datapath.Seed = redacted
	if c := Diff(cfg, back); !c.Empty() {
		t.Errorf("read back, it differs: %v", c)
	}
	back.BGP.Advertisements = back.BGP.Advertisements[:1]
	if c := Diff(cfg, back); len(c.Live) != 1 || c.Live[0].Key != "bgp.advertisements[rest]" {
		t.Errorf("without an entry: %v", c)
	}
}

func TestInForce(t *testing.T) {
	booted, now := mustParse(t, "node: lb1"), mustParse(t, "node: lb2\nlog: {level: debug}\nbgp: {asn: 1, peers: [{address: 192.0.2.1, asn: 2}]}")
	d := InForce(booted, now)
	if d.Values["node"] != "lb1" || d.Values["log.level"] != "debug" || len(d.Peers) != 1 {
		t.Errorf("in force: %+v", d)
	}
}

func TestDumpOfAnotherVersion(t *testing.T) {
	cfg, err := Dump{Values: map[string]string{"node": "lb1", "tomorrow": "x"}, Peers: []map[string]string{{"name": "a", "tomorrow": "x"}}}.Config()
	if err != nil || cfg.Node != "lb1" || cfg.BGP.Peers[0].Port != bgpPort {
		t.Errorf("%+v, %v", cfg, err)
	}
	_, err = Dump{Peers: []map[string]string{{"holdTime": "soon"}}}.Config()
	if err == nil || !strings.Contains(err.Error(), `bgp.peers[0].holdTime = "soon"`) {
		t.Errorf("error %v", err)
	}
}
