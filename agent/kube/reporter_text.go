package kube

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// How long lists in messages are.
const (
	mostNodes    = 8
	mostPeers    = 4
	mostRefusals = 3
)

// announcement names nodes and their peers, as in "announced by lb1 (tor1, tor2) and lb2 (tor1)".
func announcement(nodes map[string]string) string {
	if len(nodes) == 0 {
		return "no node announces it any more"
	}
	var out []string
	for _, n := range slices.Sorted(maps.Keys(nodes)) {
		out = append(out, fmt.Sprintf("%s (%s)", n, nodes[n]))
	}
	return "announced by " + abridge(out, mostNodes)
}

// lineOf names the peers that have the addresses: as in "tor1, tor2" if all have all of
// them, else for each address, "192.0.2.1 to tor1"; empty if none has any.
func lineOf(p ServiceReport) string {
	var parts []string
	same := true
	first := ""
	for _, v := range p.VIPs {
		if !v.Announced || len(v.Peers) == 0 {
			same = false
			continue
		}
		list := peerList(v.Peers)
		if first == "" {
			first = list
		}
		same = same && list == first
		parts = append(parts, fmt.Sprintf("%s to %s", v.VIP, list))
	}
	if same {
		return first
	}
	return strings.Join(parts, "; ")
}

func peerList(peers []string) string {
	names := slices.Compact(slices.Sorted(slices.Values(peers)))
	if n := len(names); n > mostPeers {
		return fmt.Sprintf("%s and %d others", strings.Join(names[:mostPeers], ", "), n-mostPeers)
	}
	return strings.Join(names, ", ")
}

func texts(addresses []netip.Addr) (out []string) {
	for _, a := range addresses {
		out = append(out, a.String())
	}
	return out
}
