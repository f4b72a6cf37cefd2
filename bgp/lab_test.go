package bgp_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

const (
	torASN = 64512
	lbASN  = 64513
)

func paths(prefixes ...string) []bgp.Path {
	var list []bgp.Path
	for _, p := range prefixes {
		list = append(list, bgp.Path{Prefix: netip.MustParsePrefix(p)})
	}
	return list
}

// lab is a mesh of routers and load balancer nodes. Router i and node j, counted from 1, share the
// networks 10.i.j.0/24 and fd00:i:j::/64; the router is host 1, the node host 2.
type lab struct {
	t    *testing.T
	tors []*fixture.Netns
	lbs  []*fixture.Netns
}

func newLab(t *testing.T, tors, lbs int) *lab {
	t.Helper()
	l := &lab{t: t}
	for j := range lbs {
		l.lbs = append(l.lbs, fixture.NewNetns(t, fmt.Sprintf("lb%d", j+1)))
	}
	for i := range tors {
		tor := fixture.NewNetns(t, fmt.Sprintf("tor%d", i+1))
		tor.Forward(t)
		l.tors = append(l.tors, tor)
		for j, lb := range l.lbs {
			fixture.Link(t, tor, lb.Host, lb, tor.Host, fixture.LinkOptions{
				AddrsA: []string{v4(i+1, j+1, 1) + "/24", v6(i+1, j+1, 1) + "/64"},
				AddrsB: []string{v4(i+1, j+1, 2) + "/24", v6(i+1, j+1, 2) + "/64"},
			})
		}
	}
	return l
}

func v4(tor, lb, host int) string { return fmt.Sprintf("10.%d.%d.%d", tor, lb, host) }
func v6(tor, lb, host int) string { return fmt.Sprintf("fd00:%d:%d::%d", tor, lb, host) }

// config is a speaker on node j with a session per family to every router, named torI-v4 and torI-v6.
func (l *lab) config(j int) bgp.Config {
	cfg := bgp.Config{ASN: lbASN, RouterID: netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", j))}
	for i := range l.tors {
		for _, session := range []struct{ suffix, addr string }{{"v4", v4(i+1, j, 1)}, {"v6", v6(i+1, j, 1)}} {
			cfg.Peers = append(cfg.Peers, bgp.Peer{
				Name:    fmt.Sprintf("tor%d-%s", i+1, session.suffix),
				Address: netip.MustParseAddr(session.addr), ASN: torASN,
				HoldTime: 3 * time.Second, ConnectRetry: time.Second,
			})
		}
	}
	return cfg
}

// frrConf is the configuration of a router with the given neighbors.
func frrConf(routerID string, neighbors ...neighbor) string {
	return side{id: routerID, asn: torASN, neighbors: neighbors}.frr()
}

// startFRR starts router i with a session per family to every node.
func (l *lab) startFRR(i int) *fixture.FRR {
	l.t.Helper()
	var neighbors []neighbor
	for j := range l.lbs {
		neighbors = append(neighbors, neighbor{addr: v4(i, j+1, 2), asn: lbASN}, neighbor{addr: v6(i, j+1, 2), asn: lbASN})
	}
	return fixture.StartFRR(l.t, l.tors[i-1], frrConf(v4(i, 1, 1), neighbors...))
}

// rib is the router's BGP table: prefix to next hops of the valid paths.
func rib(r *fixture.FRR, family string) (map[string][]string, error) {
	var table struct {
		Routes map[string][]struct {
			Valid    bool
			Stale    bool
			Nexthops []struct {
				IP    string
				Scope string
			}
		}
	}
	if err := r.Query("show bgp "+family+" unicast json", &table); err != nil {
		return nil, err
	}
	hops := map[string][]string{}
	for prefix, paths := range table.Routes {
		for _, path := range paths {
			for _, hop := range path.Nexthops {
				if hop.Scope == "link-local" {
					continue
				}
				text := hop.IP
				if path.Stale {
					text += " stale"
				}
				hops[prefix] = append(hops[prefix], text)
			}
		}
		slices.Sort(hops[prefix])
	}
	return hops, nil
}

// fib is the kernel's routing table: the routers' prefixes to the devices they leave by, sorted.
func fib(n *fixture.Netns, family string) (map[string][]string, error) {
	out, err := n.Output("ip", "-j", "-"+strings.TrimPrefix(family, "ipv"), "route", "show", "table", "main")
	if err != nil {
		return nil, err
	}
	var routes []struct {
		Dst, Dev, Protocol string
		Nexthops           []struct{ Dev string }
	}
	if err := json.Unmarshal([]byte(out), &routes); err != nil {
		return nil, err
	}
	devs := map[string][]string{}
	for _, r := range routes {
		if r.Protocol != "bgp" && r.Protocol != "bird" {
			continue
		}
		prefix := r.Dst
		if addr, err := netip.ParseAddr(r.Dst); err == nil {
			prefix = netip.PrefixFrom(addr, addr.BitLen()).String()
		}
		if r.Dev != "" {
			devs[prefix] = append(devs[prefix], r.Dev)
		}
		for _, hop := range r.Nexthops {
			devs[prefix] = append(devs[prefix], hop.Dev)
		}
		slices.Sort(devs[prefix])
		devs[prefix] = slices.Compact(devs[prefix])
	}
	return devs, nil
}

func familyName(prefix string) string {
	if strings.Contains(prefix, ":") {
		return "ipv6"
	}
	return "ipv4"
}

// waitFIB waits until the kernel of a router sends the prefix to exactly these devices; none means
// that there is no route.
func waitFIB(t *testing.T, n *fixture.Netns, prefix string, devs ...string) {
	t.Helper()
	fixture.Wait(t, 30*time.Second, fmt.Sprintf("%s to leave %s by %v", prefix, n.Host, devs), func() error {
		return fibIs(n, prefix, devs...)
	})
}

func fibIs(n *fixture.Netns, prefix string, devs ...string) error {
	table, err := fib(n, familyName(prefix))
	if err != nil {
		return err
	}
	if !slices.Equal(table[prefix], devs) {
		return fmt.Errorf("it leaves by %v", table[prefix])
	}
	return nil
}

// waitRIB waits until a router has exactly these next hops for the prefix.
func waitRIB(t *testing.T, r *fixture.FRR, prefix string, hops ...string) {
	t.Helper()
	fixture.Wait(t, 30*time.Second, fmt.Sprintf("%s with next hops %v in the RIB", prefix, hops), func() error {
		table, err := rib(r, familyName(prefix))
		if err != nil {
			return err
		}
		if !slices.Equal(table[prefix], hops) {
			return fmt.Errorf("next hops are %v", table[prefix])
		}
		return nil
	})
}

// routeMonitor records the changes of a router's kernel routes.
type routeMonitor struct {
	t    *testing.T
	proc *fixture.Process
}

func monitorRoutes(t *testing.T, n *fixture.Netns) *routeMonitor {
	t.Helper()
	m := &routeMonitor{t: t, proc: n.Start(t, "stdbuf", "-oL", "ip", "monitor", "route")}
	// It is listening once it reports a route of our own.
	mark := 0
	fixture.Wait(t, 10*time.Second, "ip monitor", func() error {
		mark++
		n.Run(t, "ip", "route", "add", "blackhole", fmt.Sprintf("198.18.0.%d/32", mark))
		if !strings.Contains(m.proc.Output(), "198.18.0.") {
			return fmt.Errorf("no event yet")
		}
		return nil
	})
	return m
}

// changes returns the events that name one of the prefixes.
func (m *routeMonitor) changes(prefixes ...string) []string {
	var found []string
	for line := range strings.Lines(m.proc.Output()) {
		for _, p := range prefixes {
			addr, _, _ := strings.Cut(p, "/")
			if strings.Contains(line, addr+" ") {
				found = append(found, strings.TrimSpace(line))
			}
		}
	}
	return found
}
