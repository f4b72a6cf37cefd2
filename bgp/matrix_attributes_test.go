package bgp_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// attribute is a row of a path with attributes, and what an eBGP router has of them.
func attribute(feature string, a bgp.Attributes, want told) row {
	return row{feature: feature, run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := g.speaker(1)
		s.call("Sync", []bgp.Path{g.path(0, a), g.path(1, bgp.Attributes{})})
		want := want
		want.hop = g.at(1, 1, 2)
		if want.asPath == "" {
			want.asPath = "64513"
		}
		g.told(r, g.vip(0), want)
		g.told(r, g.vip(1), told{hop: want.hop, asPath: "64513"})
		g.leaves(1, g.vip(0), "lb1")
	}}
}

var attributeRows = []row{
	attribute("communities", bgp.Attributes{Communities: []bgp.Community{64513<<16 | 100, 64513<<16 | 200}}, told{communities: "64513:100 64513:200"}),
	attribute("well-known communities", bgp.Attributes{Communities: []bgp.Community{bgp.NoExport, bgp.GracefulShutdown, bgp.NoPeer}},
		told{communities: "65535:0 65535:65281 65535:65284"}),
	attribute("large communities", bgp.Attributes{LargeCommunities: []bgp.LargeCommunity{{Global: 4200000000, Local1: 1, Local2: 4294967295}}}, told{large: "4200000000:1:4294967295"}),
	onlyFRR("128 communities", "birdc prints some forty of them", attribute("", bgp.Attributes{Communities: manyCommunities(128)}, told{communities: numeric(names(manyCommunities(128)))})),
	attribute("MED", bgp.Attributes{MED: new(uint32(50))}, told{med: "50"}),
	attribute("MED 0", bgp.Attributes{MED: new(uint32(0))}, told{med: "0"}),
	attribute("prepend", bgp.Attributes{Prepend: 3}, told{asPath: "64513 64513 64513 64513"}),
	attribute("local-pref is not for eBGP", bgp.Attributes{LocalPref: new(uint32(200))}, told{}),
	{feature: "local-pref", run: func(g *rig) {
		g.build(1, 2)
		r := g.router(1, func(n *neighbor) { n.asn = torASN })
		for j := range g.lbs {
			cfg := g.config(j + 1)
			cfg.ASN = torASN
			s := startSpeaker(g.t, g.lbs[j], cfg)
			s.call("Sync", []bgp.Path{g.path(0, bgp.Attributes{LocalPref: new(uint32(200 + j))})})
		}
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), localPref: "200"}, told{hop: g.at(1, 2, 2), localPref: "201"})
		g.leaves(1, g.vip(0), "lb2")
	}},
	{feature: "MED chooses", run: func(g *rig) {
		g.build(1, 2)
		g.router(1)
		speakers := []*speaker{g.speaker(1), g.speaker(2)}
		speakers[0].call("Sync", []bgp.Path{g.path(0, bgp.Attributes{MED: new(uint32(10))})})
		speakers[1].call("Sync", []bgp.Path{g.path(0, bgp.Attributes{MED: new(uint32(20))})})
		g.leaves(1, g.vip(0), "lb1")
		speakers[0].call("Sync", []bgp.Path{g.path(0, bgp.Attributes{MED: new(uint32(20))})})
		g.leaves(1, g.vip(0), "lb1", "lb2")
	}},
	{feature: "link bandwidth, weighted ECMP", not: map[string]string{bird: "2.0 shows the community and gives all ways one weight"}, run: func(g *rig) {
		g.build(1, 2)
		g.router(1)
		for j := range g.lbs {
			g.speaker(j+1).call("Sync", []bgp.Path{g.path(0, bgp.Attributes{Bandwidth: uint64(125000000 * (1 + 2*j))})})
		}
		fixture.Wait(g.t, 30*time.Second, "weights 1:3", func() error {
			weights, err := fibWeights(g.tors[0], g.vip(0))
			if err != nil || len(weights) != 2 || weights["lb2"] < 2*weights["lb1"] || weights["lb2"] > 4*weights["lb1"] {
				return fmt.Errorf("%v, %w", weights, err)
			}
			return nil
		})
		weights, _ := fibWeights(g.tors[0], g.vip(0))
		g.note("weights %d:%d", weights["lb1"], weights["lb2"])
	}},
	{feature: "link bandwidth, as sent", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		g.speaker(1).call("Sync", []bgp.Path{g.path(0, bgp.Attributes{Bandwidth: 125000000})})
		fixture.Wait(g.t, 30*time.Second, "the community", func() error {
			got, err := r.told(g.vip(0))
			if err != nil || len(got) != 1 {
				return fmt.Errorf("%v, %w", got, err)
			}
			// As a float of 32 bits 125000000 is 1290693416.
			if x := strings.ToLower(got[0].extended); !strings.Contains(x, "lb:64513:125000000") && !strings.Contains(x, "0x4004, 64513, 1290693416") {
				return fmt.Errorf("it is %q", x)
			}
			return nil
		})
	}},
	{feature: "offers by peer", run: func(g *rig) {
		g.build(3, 1)
		routers := []router{g.router(1), g.router(2), g.router(3)}
		s := g.speaker(1)
		vip := func(n int) netip.Prefix { return netip.MustParsePrefix(g.vip(n)) }
		s.call("Sync", []bgp.Path{
			{Prefix: vip(0), Offers: []bgp.Offer{
				{Peers: []string{"tor1"}, Attributes: bgp.Attributes{MED: new(uint32(1))}},
				{Peers: []string{"tor2"}, Attributes: bgp.Attributes{MED: new(uint32(2)), Prepend: 1}},
			}},
			{Prefix: vip(1)},
		})
		for i := range routers {
			g.told(routers[i], g.vip(1), told{hop: g.at(i+1, 1, 2), asPath: "64513"})
		}
		g.told(routers[0], g.vip(0), told{hop: g.at(1, 1, 2), asPath: "64513", med: "1"})
		g.told(routers[1], g.vip(0), told{hop: g.at(2, 1, 2), asPath: "64513 64513", med: "2"})
		g.told(routers[2], g.vip(0))
		// Now the third one alone is told.
		s.call("Sync", []bgp.Path{{Prefix: vip(0), Offers: []bgp.Offer{{Peers: []string{"tor3"}}}}, {Prefix: vip(1)}})
		g.told(routers[0], g.vip(0))
		g.told(routers[1], g.vip(0))
		g.told(routers[2], g.vip(0), told{hop: g.at(3, 1, 2), asPath: "64513"})
		g.leaves(1, g.vip(0))
		g.leaves(3, g.vip(0), "lb1")
	}},
	{feature: "attributes change, route stays", run: func(g *rig) {
		g.build(1, 1)
		r := g.router(1)
		s := g.speaker(1)
		s.sync(g.vip(0))
		g.leaves(1, g.vip(0), "lb1")
		m := monitorRoutes(g.t, g.tors[0])
		s.call("Sync", []bgp.Path{g.path(0, bgp.Attributes{MED: new(uint32(5)), Communities: []bgp.Community{64513<<16 | 1}, Prepend: 2})})
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "64513 64513 64513", med: "5", communities: "64513:1"})
		s.sync(g.vip(0))
		g.told(r, g.vip(0), told{hop: g.at(1, 1, 2), asPath: "64513"})
		for _, change := range m.changes(g.vip(0)) {
			if strings.Contains(change, "Deleted") {
				g.t.Errorf("the route was removed: %q", change)
			}
		}
		if flaps := s.peer("tor1").Flaps; flaps != 0 {
			g.t.Errorf("%d flaps", flaps)
		}
	}},
}

func onlyFRR(feature, why string, r row) row {
	r.feature, r.not = feature, map[string]string{bird: why}
	return r
}

func manyCommunities(n int) (list []bgp.Community) {
	for i := range n {
		list = append(list, bgp.Community(64513<<16|i))
	}
	return list
}

func names(list []bgp.Community) (words []string) {
	for _, c := range list {
		words = append(words, c.String())
	}
	return words
}

// fibWeights are a multipath route's, by device.
func fibWeights(n *fixture.Netns, prefix string) (map[string]int, error) {
	dst, _, _ := strings.Cut(prefix, "/")
	out, err := n.Output("ip", "-j", "-"+familyName(prefix)[3:], "route", "show", dst)
	if err != nil {
		return nil, err
	}
	var routes []struct {
		Nexthops []struct {
			Dev    string
			Weight int
		}
	}
	if err := json.Unmarshal([]byte(out), &routes); err != nil {
		return nil, fmt.Errorf("%w: %q", err, out)
	}
	weights := map[string]int{}
	for _, hop := range routes {
		for _, h := range hop.Nexthops {
			weights[h.Dev] = h.Weight
		}
	}
	return weights, nil
}
