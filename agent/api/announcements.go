package api

import (
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/bgp"
)

// Announcement is what became of a prefix: which routers have it since when and how, and why
// others, or all of them, do not.
type Announcement struct {
	Prefix    netip.Prefix    `json:"prefix"`
	Announced bool            `json:"announced"`      // a router has it
	Since     time.Time       `json:"since,omitzero"` // that it is to be announced
	Peers     []bgp.RoutePeer `json:"peers"`
	Missing   []MissingPeer   `json:"missing,omitempty"`
	Reason    desired.Reason  `json:"reason,omitempty"` // of one that no router has
	Detail    string          `json:"detail,omitempty"`
	Services  []string        `json:"services,omitempty"` // that make it worth announcing
}

// MissingPeer is a peer that carries a prefix's family and does not have it, although others
// have, or would.
type MissingPeer struct {
	Peer string `json:"peer"`
	Why  string `json:"why"`
}

// Announcements puts together what is known of each prefix, in order: those that are announced,
// or would be if a session were up, and the VIPs that are not.
func Announcements(vips []VIPStatus, routes []bgp.Route, peers []bgp.PeerState) []Announcement {
	at := map[netip.Prefix]int{}
	out := make([]Announcement, 0, len(vips))
	for _, r := range routes {
		at[r.Prefix] = len(out)
		out = append(out, Announcement{
			Prefix: r.Prefix, Announced: len(r.Peers) > 0, Since: r.Since, Peers: nonNilList(r.Peers), Missing: missing(r, peers),
		})
	}
	for _, v := range vips {
		prefix := netip.PrefixFrom(v.VIP, v.VIP.BitLen())
		i, wanted := at[prefix]
		if !wanted {
			i = len(out)
			out = append(out, Announcement{Prefix: prefix, Peers: []bgp.RoutePeer{}})
		}
		out[i].Services = v.Services
		if !wanted && v.Announced {
			out[i].Detail = v.How() // by an aggregate alone
		}
		if !out[i].Announced && v.Reason != desired.Announceable {
			out[i].Reason, out[i].Detail = v.Reason, v.Detail
			if v.Reason != NoSession {
				out[i].Missing = nil // no peer is to have it
			}
		}
	}
	slices.SortFunc(out, func(a, b Announcement) int { return a.Prefix.Compare(b.Prefix) })
	return out
}

func missing(r bgp.Route, peers []bgp.PeerState) (out []MissingPeer) {
	family := bgp.IPv6
	if r.Prefix.Addr().Is4() {
		family = bgp.IPv4
	}
	for _, p := range peers {
		has := slices.ContainsFunc(r.Peers, func(rp bgp.RoutePeer) bool { return rp.Peer == p.Name })
		carries := slices.ContainsFunc(p.Families, func(f bgp.FamilyState) bool { return f.Family == family })
		switch {
		case has || !carries:
		case SessionUp(p):
			out = append(out, MissingPeer{p.Name, "it is not offered to this peer"})
		default:
			why := "the session is " + string(p.State)
			if p.DownReason != "" {
				why += ": " + p.DownReason
			}
			out = append(out, MissingPeer{p.Name, why})
		}
	}
	return out
}
