package desired

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/near"
	"github.com/penstock-lb/penstock/bgp"
)

// Annotations of a Service that say what routers are told of its VIPs, each in place of what an
// entry of bgp.advertisements says.
const (
	// BGPCommunitiesAnnotation holds communities of both kinds, separated by commas.
	BGPCommunitiesAnnotation = "penstock.dev/bgp-communities"
	BGPLocalPrefAnnotation   = "penstock.dev/bgp-local-pref"
	BGPMEDAnnotation         = "penstock.dev/bgp-med"
	BGPPrependAnnotation     = "penstock.dev/bgp-prepend"
	// BGPPeersAnnotation names the peers that may be told, separated by commas: none but those that
	// are configured.
	BGPPeersAnnotation = "penstock.dev/bgp-peers"
)

var bgpAnnotations = []string{BGPCommunitiesAnnotation, BGPLocalPrefAnnotation, BGPMEDAnnotation, BGPPrependAnnotation, BGPPeersAnnotation}

// override reads one of bgpAnnotations. peers are those that are configured; nil where that is not
// known. With an error, what o has of it counts nevertheless.
func override(o *advertise.Overrides, key, text string, peers []string) (err error) {
	number := func(most uint32) *uint32 {
		var n uint32
		if n, err = advertise.ParseNumber(text, most); err != nil {
			return nil
		}
		return &n
	}
	switch key {
	case BGPCommunitiesAnnotation:
		c, wrong := advertise.ParseCommunities(text)
		if wrong != nil {
			return wrong
		}
		o.Communities = c
	case BGPLocalPrefAnnotation:
		o.LocalPref = number(^uint32(0))
	case BGPMEDAnnotation:
		o.MED = number(^uint32(0))
	case BGPPrependAnnotation:
		if n := number(bgp.MaxPrepend); n != nil {
			o.Prepend = new(uint8(*n))
		}
	case BGPPeersAnnotation:
		o.Restricted = true
		o.Peers, err = peersOf(text, peers)
	}
	return err
}

// peersOf gives those of the named peers that are configured. The others do not count, which leaves
// fewer that are told and never more.
func peersOf(text string, configured []string) (names []string, err error) {
	var unknown []string
	for word := range strings.SplitSeq(text, ",") {
		switch word = strings.TrimSpace(word); {
		case !slices.Contains(configured, word):
			unknown = append(unknown, clipped(word))
		case !slices.Contains(names, word):
			names = append(names, word)
		}
	}
	slices.Sort(names)
	if len(unknown) == 0 {
		return names, nil
	}
	effect := "so that no router is told"
	if len(names) > 0 {
		effect = "so that " + strings.Join(names, ", ") + " alone may be told"
	}
	for i := range unknown[:min(len(unknown), mostWrong)] { // whoever may annotate a Service can write thousands
		unknown[i] = fmt.Sprintf("%q", unknown[i]) + meant(unknown[i], configured)
	}
	return names, fmt.Errorf("no peer is called %s, %s; bgp.peers has %s", abridge(unknown), effect, strings.Join(configured, ", "))
}

// meant says which name is near a wrong one.
func meant(word string, names []string) string {
	best, least := "", 3
	for _, n := range names {
		if d := near.Distance(strings.ToLower(word), strings.ToLower(n)); d < least {
			best, least = n, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// overrides reads what svc says of its paths, and explains what of it does not count.
func (b *builder) overrides(svc *corev1.Service) (o advertise.Overrides) {
	for _, key := range bgpAnnotations {
		text, set := svc.Annotations[key]
		if !set {
			continue
		}
		if err := override(&o, key, text, b.site.Advertised.Peers); err != nil {
			b.explain(svc, key, InvalidAnnotation, fmt.Sprintf("%s is %q: %v", key, clipped(text), err))
		}
	}
	return o
}

// countsAsBGP tells whether a value of one of bgpAnnotations counts, as far as it tells by itself.
func countsAsBGP(key, value string) bool {
	return key == BGPPeersAnnotation || override(&advertise.Overrides{}, key, value, nil) == nil
}

// plans decides what routers are to be told of the VIPs that svc asks for.
func (b *builder) plans(svc *corev1.Service, vips []netip.Addr) map[netip.Addr]advertise.Plan {
	o := b.overrides(svc)
	s := advertise.Subject{Namespace: svc.Namespace, Labels: svc.Labels, NamespaceLabels: b.claimant(svc).NamespaceLabels}
	out := make(map[netip.Addr]advertise.Plan, len(vips))
	for _, s.VIP = range vips {
		out[s.VIP] = b.site.Advertised.Plan(s, o)
	}
	return out
}

// plan is what routers are to be told of a VIP: what the Service says that has the best right to it,
// as with ports, so that all nodes tell the same.
func (m *Model) plan(vip netip.Addr) advertise.Plan {
	if owner := m.owner(vip); owner != nil {
		return m.entries[key(owner)].wish.plans[vip]
	}
	return advertise.Plan{}
}

// advertise tells a Service which of its VIPs are told otherwise than it says, or not at all.
func (m *Model) advertise(e *entry, b *builder) {
	svc := e.wish.svc
	for _, vip := range e.wish.vips {
		own, told, owner := e.wish.plans[vip], m.plan(vip), m.owner(vip)
		_, rival := m.rival(vip)
		switch {
		case rival || e.wish.external[vip] && m.grantee(vip) != nil: // it may not have the address at all
		case !own.Equal(told):
			b.explain(svc, vip.String(), OtherAdvertisement, fmt.Sprintf("Service %s says what routers are told of it: it %s; give both the same labels and annotations %sbgp-…, or one another address", key(owner), whySenior(owner, svc), Prefix))
		case told.Refused != "":
			b.explain(svc, vip.String(), NotAdvertised, told.Refused)
		}
	}
}

// replanned gives the addresses of which one Service, whose rank and addresses are as before, says
// something else than before.
func replanned(a, b wish) (out []netip.Addr) {
	for _, vip := range b.vips {
		if !a.plans[vip].Equal(b.plans[vip]) {
			out = append(out, vip)
		}
	}
	return out
}

// retell adds to get the Services that share a VIP with one that decides what is told of it, and
// says something else than before: they may be told so. Whoever else edits its Service concerns
// nobody but itself.
func (m *Model) retell(told index[netip.Addr], get map[string]bool) {
	for vip, names := range told {
		if owner := m.owner(vip); owner != nil && names[key(owner)] {
			maps.Copy(get, m.askers[vip])
		}
	}
}

// advertised completes a VIP by what routers are to be told of it.
func (v *VIP) advertised(p advertise.Plan) {
	v.Path.Offers, v.Suppressed, v.Aggregates = p.Offers, p.Suppressed, p.Aggregates
	if p.Refused != "" && v.Reason == Announceable {
		v.Services, v.Reason, v.Detail = nil, NotAdvertised, p.Refused
	}
}

// Within gives the prefixes of the VIP's aggregates.
func (v VIP) Within() (out []netip.Prefix) {
	for _, a := range v.Aggregates {
		if !slices.Contains(out, a.Prefix) {
			out = append(out, a.Prefix)
		}
	}
	return out
}

// Prefixes gives those that bring packets to the VIP while routers are told of them.
func (v VIP) Prefixes() []netip.Prefix {
	if v.Suppressed {
		return v.Within()
	}
	return append([]netip.Prefix{v.Path.Prefix}, v.Within()...)
}

// ToldTo tells whether a peer is told of the VIP, by its own prefix or by another.
func (v VIP) ToldTo(peer string) bool {
	if _, told := v.Path.For(peer); told && !v.Suppressed {
		return true
	}
	return slices.ContainsFunc(v.Aggregates, func(a advertise.Aggregate) bool {
		return len(a.Peers) == 0 || slices.Contains(a.Peers, peer)
	})
}
