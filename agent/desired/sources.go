package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/maps"
)

// sources are the clients that a Service is for.
type sources struct {
	restricted bool // to those of ranges
	field      string
	ranges     []netip.Prefix // sorted, of both families
}

// sourcesOf reads spec.loadBalancerSourceRanges, or where that is empty the annotation
// that was there before the field. A range that cannot be read refuses the Service: who
// wrote it meant to keep somebody out.
func sourcesOf(svc *corev1.Service) (sources, refusal) {
	s := sources{field: "spec.loadBalancerSourceRanges"}
	written := svc.Spec.LoadBalancerSourceRanges
	if len(written) == 0 {
		s.field = annotation(corev1.AnnotationLoadBalancerSourceRangesKey)
		if a := strings.TrimSpace(svc.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]); a != "" {
			written = strings.Split(a, ",")
		}
	}
	var bad []string
	for _, text := range written {
		p, why := parseRange(strings.TrimSpace(text))
		if why != "" {
			bad = append(bad, fmt.Sprintf("%q: %s", text, why))
			continue
		}
		s.ranges = append(s.ranges, p)
	}
	if len(bad) > 0 {
		return sources{}, refusal{SourceRanges, fmt.Sprintf("%s: %s; nobody is served until that is corrected", s.field, abridge(bad))}
	}
	s.restricted = len(written) > 0
	slices.SortFunc(s.ranges, netip.Prefix.Compare)
	s.ranges = slices.Compact(s.ranges)
	return s, refusal{}
}

func parseRange(text string) (netip.Prefix, string) {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return p, "not a range; write one such as 192.0.2.0/24"
	case p.Addr().Is4In6():
		return p, "IPv4-mapped; write the IPv4 range"
	}
	return p.Masked(), ""
}

// restrict limits a table to the sources of its family. Where there are none, nobody is
// served: kube-proxy would serve everybody then, as if the other family had no list, and
// a list that keeps strangers out over IPv4 would let them in over IPv6.
func (s sources) restrict(svc *maps.Service, f family) {
	if !s.restricted {
		return
	}
	var of []netip.Prefix
	for _, p := range s.ranges {
		if familyOf(p.Addr()) == f {
			of = append(of, p)
		}
	}
	if slices.ContainsFunc(of, func(p netip.Prefix) bool { return p.Bits() == 0 }) {
		return
	}
	svc.Restricted, svc.Sources = true, of
}

// nobody says why a table serves none.
func (s sources) nobody(f family) refusal {
	all := "0.0.0.0/0"
	if f == ipv6 {
		all = "::/0"
	}
	return refusal{NobodyAdmitted, fmt.Sprintf("%s has no %s range, so that no %s client is served; add %s to serve all of them", s.field, f, f, all)}
}
