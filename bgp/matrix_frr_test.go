package bgp_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

type frrRouter struct{ *fixture.FRR }

// frr is the configuration in FRR's language.
func (s side) frr() string {
	b := &strings.Builder{}
	fmt.Fprint(b, s.forget)
	fmt.Fprint(b, "ip prefix-list VIPS seq 5 permit 0.0.0.0/0 ge 32\nipv6 prefix-list VIPS seq 5 permit ::/0 ge 128\n")
	fmt.Fprintf(b, "router bgp %d\n bgp router-id %s\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n", s.asn, s.id)
	fmt.Fprint(b, " bgp bestpath as-path multipath-relax\n no bgp network import-check\n")
	for _, n := range s.neighbors {
		n.frr(b)
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(b, " address-family %s unicast\n  maximum-paths 8\n  maximum-paths ibgp 8\n", family)
		for _, n := range s.neighbors {
			if slices.Contains(n.channels(), family) {
				fmt.Fprintf(b, "  neighbor %s activate\n", n.frrName())
			}
			if slices.Contains(n.channels(), family) && !n.everything {
				fmt.Fprintf(b, "  neighbor %s prefix-list VIPS in\n", n.frrName())
			}
		}
		for _, network := range s.networks {
			if familyName(network) == family {
				fmt.Fprintf(b, "  network %s\n", network)
			}
		}
		fmt.Fprint(b, " exit-address-family\n")
	}
	return b.String() + s.lines
}

// frrName is what a neighbor's lines begin with; those of a range are a group's.
func (n neighbor) frrName() string {
	if n.dynamic() {
		return "LB"
	}
	return n.addr
}

func (n neighbor) frr(b *strings.Builder) {
	line := func(format string, args ...any) {
		fmt.Fprintf(b, " neighbor %s %s\n", n.frrName(), fmt.Sprintf(format, args...))
	}
	if n.dynamic() {
		line("peer-group")
	}
	line("remote-as %d", n.asn)
	if n.dynamic() {
		fmt.Fprintf(b, " bgp listen range %s peer-group LB\n", n.addr)
	}
	keepalive, hold := n.timers()
	line("timers %d %d", keepalive, hold)
	line("timers connect 1")
	if n.device != "" {
		line("interface %s", n.device)
	}
	if n.localAS != 0 {
		line("local-as %d no-prepend replace-as", n.localAS)
	}
	if n.password != "" {
		line("password %s", n.password)
	}
	if n.ttlSecurity {
		line("ttl-security hops 1")
	}
	if n.multihop != 0 {
		line("ebgp-multihop %d", n.multihop)
	}
	if n.passive {
		line("passive")
	}
	if n.extended {
		line("capability extended-nexthop")
	}
	if n.bfd {
		line("bfd")
		line("bfd 3 100 100")
	}
	for _, more := range n.lines {
		line("%s", more)
	}
}

func (r *frrRouter) told(prefix string) ([]told, error) {
	var table struct {
		Paths []struct {
			Aspath            struct{ String string }
			Metric, LocPrf    *uint32
			Stale             bool
			Community         struct{ List []string }
			LargeCommunity    struct{ String string }
			ExtendedCommunity struct{ String string }
			Nexthops          []struct{ IP, Scope string }
			Valid             bool
		}
	}
	if err := r.Query("show bgp "+familyName(prefix)+" unicast "+prefix+" json", &table); err != nil {
		return nil, err
	}
	var list []told
	for _, p := range table.Paths {
		path := told{
			asPath: strings.TrimPrefix(p.Aspath.String, "Local"), med: number(p.Metric), localPref: number(p.LocPrf), communities: numeric(p.Community.List),
			large: p.LargeCommunity.String, extended: p.ExtendedCommunity.String, stale: p.Stale,
		}
		for _, hop := range p.Nexthops {
			if path.hop == "" || hop.Scope == "global" {
				path.hop = hop.IP
			}
		}
		if path.asPath != "" {
			path.localPref = ""
		}
		if !p.Valid {
			path.hop += " (invalid)"
		}
		list = append(list, path)
	}
	slices.SortFunc(list, func(a, b told) int { return strings.Compare(a.hop, b.hop) })
	return list, nil
}

func number(v *uint32) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(*v)
}

// frrCommunities are FRR's own names.
var frrCommunities = map[string]string{
	"gracefulShutdown": "graceful-shutdown", "noExport": "no-export", "noAdvertise": "no-advertise", "localAs": "no-export-subconfed",
	"noPeer": "no-peer", "llgrStale": "llgr-stale", "noLlgr": "no-llgr",
}

// numeric is sorted communities without names.
func numeric(words []string) string {
	var list []string
	for _, w := range words {
		if name, ok := frrCommunities[w]; ok {
			w = name
		}
		if c, err := bgp.ParseCommunity(w); err == nil {
			w = fmt.Sprintf("%d:%d", c>>16, c&0xffff)
		}
		list = append(list, w)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// frrNeighbor is what FRR's `show bgp neighbors` has of one.
type frrNeighbor struct {
	BgpState                  string
	LastResetDueTo            string
	LastNotificationReason    string
	LastShutdownDescription   string
	LastErrorCodeSubcode      string
	ConnectionsEstablished    int
	ConnectionsDropped        int
	GracefulRestartInfo       json.RawMessage
	LastNotificationHardReset bool
	LastResetCode             int
}

func (r *frrRouter) neighbor(addr string) (frrNeighbor, error) {
	var all map[string]frrNeighbor
	if err := r.Query("show bgp neighbors "+addr+" json", &all); err != nil {
		return frrNeighbor{}, err
	}
	return all[addr], nil
}

func (r *frrRouter) established(addr string) (bool, error) {
	n, err := r.neighbor(addr)
	return n.BgpState == "Established", err
}

func (r *frrRouter) last(addr string) (string, error) {
	n, err := r.neighbor(addr)
	return strings.Join([]string{n.LastResetDueTo, n.LastNotificationReason, n.LastShutdownDescription}, "; "), err
}

func (r *frrRouter) received(addr, family string) (int, error) {
	var answer struct {
		TotalPrefixCounter int
		ReceivedRoutes     map[string]json.RawMessage
	}
	err := r.Query("show bgp "+family+" unicast neighbors "+addr+" received-routes json", &answer)
	return max(answer.TotalPrefixCounter, len(answer.ReceivedRoutes)), err
}

func (r *frrRouter) bfd(addr string) (bool, error) {
	var peers []struct{ Peer, Status string }
	err := r.Query("show bfd peers json", &peers)
	for _, p := range peers {
		if p.Peer == addr && p.Status == "up" {
			return true, err
		}
	}
	return false, err
}

func (r *frrRouter) configure(t *testing.T, s side) {
	t.Helper()
	r.Configure(t, s.frr())
}

func (r *frrRouter) shutdown(t *testing.T, addr, why string) {
	t.Helper()
	r.Configure(t, fmt.Sprintf("router bgp %d\n neighbor %s shutdown message %s\n", torASN, addr, why))
}

func (r *frrRouter) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	r.Signal(t, sig)
}

func (r *frrRouter) stop(t *testing.T) {
	t.Helper()
	r.Stop(t)
}

func (r *frrRouter) restart(t *testing.T) {
	t.Helper()
	r.Restart(t)
}
