package desired

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// area is where the LB nodes are, all of them: flows move from one to another by ECMP, so
// that each has to choose among the same endpoints. Hints count only where they are one.
type area struct {
	zone string // empty: none
	why  string // there is none
}

// areaOf reads the zones of the LB nodes that can announce, cordoned ones too, which come
// back.
func areaOf(nodes []*corev1.Node, f *fabric) area {
	first := map[string]string{} // an LB node of each zone
	for _, n := range nodes {
		_, out := n.Labels[corev1.LabelNodeExcludeBalancers]
		if m := f.members[n.Name]; m == nil || !m.lb || out {
			continue
		}
		zone := n.Labels[corev1.LabelTopologyZone]
		if have, known := first[zone]; !known || n.Name < have {
			first[zone] = n.Name
		}
	}
	var zones []string
	for zone, node := range first {
		zones = append(zones, fmt.Sprintf("%s (%s)", zone, node))
	}
	slices.Sort(zones)
	switch {
	case len(first) == 0:
		return area{why: "no Node has the role lb"}
	case first[""] != "":
		return area{why: fmt.Sprintf("LB node %s has no label %s", first[""], corev1.LabelTopologyZone)}
	case len(first) > 1:
		return area{why: "LB nodes are in the zones " + strings.Join(zones, ", ")}
	}
	for zone := range first {
		return area{zone: zone}
	}
	return area{}
}

// zonesOf gives the zones for whose clients an endpoint is meant, sorted. Hints for nodes
// have no meaning on LB nodes, which run no clients.
func zonesOf(ep discoveryv1.Endpoint) (out []string) {
	if ep.Hints == nil {
		return nil
	}
	for _, z := range ep.Hints.ForZones {
		out = append(out, z.Name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// commonZones are the hints of an endpoint that two slices list: of one that has none in
// either nothing is known.
func commonZones(a, b []string) []string {
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// keepTo marks the endpoints that zone hints keep new flows from, under the conditions that
// kube-proxy has (KEP-2433): each ready endpoint has a hint, and one of them is for our
// zone. Beside that it must be one that can be reached. Where hints do not count, it says why.
func (a area) keepTo(found []placed) refusal {
	var hinted, here bool
	without := -1 // the first ready one that has no hint
	for i, p := range found {
		switch {
		case p.cond != ready:
		case len(p.zones) == 0:
			if without < 0 {
				without = i
			}
		default:
			hinted = true
			here = here || p.usable() && slices.Contains(p.zones, a.zone)
		}
	}
	ignored := func(format string, args ...any) refusal {
		return refusal{HintsIgnored, "endpoints have zone hints, which do not count, as " + fmt.Sprintf(format, args...)}
	}
	switch {
	case !hinted:
		return refusal{}
	case a.zone == "":
		return ignored("%s", a.why)
	case without >= 0:
		return ignored("%s is ready and has none", found[without].at)
	case !here:
		return ignored("none of those that can be reached is meant for zone %s, where the LB nodes are", a.zone)
	}
	for i := range found {
		p := &found[i]
		if p.cond == ready && !slices.Contains(p.zones, a.zone) {
			p.elsewhere = true
			p.reason, p.detail = OtherZone, fmt.Sprintf("it is meant for zone %s, and LB nodes are in %s: it gets no new flows; %s", strings.Join(p.zones, ", "), a.zone, p.detail)
		}
	}
	return refusal{}
}
