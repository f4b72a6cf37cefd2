package desired

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/maps"
)

// IngressNode is a node to which there can be a tunnel.
type IngressNode struct {
	Name   string
	Tunnel netip.Addr
}

// member is what a Node object says of its place in the tunnels.
type member struct {
	name        string
	lb, backend bool
	addrs       []netip.Addr // that tunnel packets may come from
	tunnel      []netip.Addr // that they go to, the first one preferred
	why         string       // no address of tunnel is there
}

// members reads the annotations of nodes. The result is sorted by name.
func members(nodes []*corev1.Node) (out []member, problems []Problem) {
	nodes = slices.SortedFunc(slices.Values(nodes), func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	owner := map[netip.Addr]string{}
	for _, n := range nodes {
		text, set := n.Annotations[RoleAnnotation]
		if !set {
			continue
		}
		m := member{name: n.Name}
		note := func(field, value, format string, args ...any) string {
			p := Problem{Kind: "Node", Name: n.Name, Field: field, Value: value, Message: fmt.Sprintf(format, args...)}
			problems = append(problems, p)
			return p.Field + ": " + p.Message
		}
		for word := range strings.SplitSeq(text, ",") {
			switch strings.TrimSpace(word) {
			case "lb":
				m.lb = true
			case "backend":
				m.backend = true
			default:
				note(annotation(RoleAnnotation), text, "%q is no role; write lb, backend, or both with a comma", strings.TrimSpace(word))
			}
		}
		if !m.lb && !m.backend {
			continue
		}
		m.place(n, note)
		for _, a := range m.addrs {
			if first, taken := owner[a]; taken {
				note("status.addresses", a.String(), "node %s has it too, and gets what is sent there; correct one of them", first)
				m.tunnel = slices.DeleteFunc(m.tunnel, func(t netip.Addr) bool { return t == a })
				continue
			}
			owner[a] = n.Name
		}
		if len(m.tunnel) == 0 && m.why == "" {
			m.why = "its addresses are another node's"
		}
		out = append(out, m)
	}
	return out, problems
}

func annotation(name string) string { return "metadata.annotations[" + name + "]" }

// place finds m's addresses in its Node object.
func (m *member) place(n *corev1.Node, note func(field, value, format string, args ...any) string) {
	for i, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		addr, why := unicast(a.Address)
		switch {
		case why != "":
			m.why = note(fmt.Sprintf("status.addresses[%d].address", i), a.Address, "%s; tunnels need a unicast address", why)
		case !slices.Contains(m.addrs, addr):
			m.addrs = append(m.addrs, addr)
		}
	}
	text, set := n.Annotations[TunnelAnnotation]
	if set {
		m.annotated(text, note)
		return
	}
	m.tunnel = slices.SortedStableFunc(slices.Values(m.addrs), func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) })
	if len(m.addrs) == 0 && m.why == "" {
		m.why = note("status.addresses", "", "there is no InternalIP, so that there can be no tunnel; add one, or the annotation %s", TunnelAnnotation)
	}
}

// annotated takes the addresses of TunnelAnnotation: all of them or, as a mistake
// may be in any, none.
func (m *member) annotated(text string, note func(field, value, format string, args ...any) string) {
	var addrs []netip.Addr
	for word := range strings.SplitSeq(text, ",") {
		addr, why := unicast(strings.TrimSpace(word))
		if why == "" && slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Is4() == addr.Is4() }) {
			why = "two addresses of one family"
		}
		if why != "" {
			m.why = note(annotation(TunnelAnnotation), text, "%s; write a unicast address, or one of each family", why)
			return
		}
		addrs = append(addrs, addr)
	}
	m.tunnel = addrs
	for _, a := range addrs {
		if !slices.Contains(m.addrs, a) {
			m.addrs = append(m.addrs, a)
		}
	}
}

// fabric is who takes part in tunnels, as one node sees it.
type fabric struct {
	self     string
	own      *member // nil: this node takes no part
	members  map[string]*member
	families [2]bool // that this node has a source address of: IPv4, IPv6
	known    map[string]bool
	problems []Problem
}

func newFabric(nodes []*corev1.Node, site Site) *fabric {
	list, problems := members(nodes)
	f := &fabric{self: site.Node, members: map[string]*member{}, known: map[string]bool{}, problems: problems}
	for _, n := range nodes {
		f.known[n.Name] = true
	}
	for i := range list {
		f.members[list[i].name] = &list[i]
	}
	f.own = f.members[site.Node]
	var sources []netip.Addr
	if f.own != nil {
		sources = f.own.tunnel
	}
	for a := range site.Own {
		if f.own == nil && !a.IsLinkLocalUnicast() && !a.IsLoopback() {
			sources = append(sources, a)
		}
	}
	for _, a := range sources {
		f.families[kindOf(a)] = true
	}
	if len(sources) == 0 && f.own == nil {
		f.families = [2]bool{true, true}
	}
	return f
}

func kindOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// tunnelTo is where this node sends packets for pods of m to. Invalid, with the
// reason, if it cannot.
func (f *fabric) tunnelTo(m *member) (netip.Addr, string) {
	for _, a := range m.tunnel {
		if f.families[kindOf(a)] {
			return a, ""
		}
	}
	if len(m.tunnel) > 0 {
		return netip.Addr{}, fmt.Sprintf("this node has no address of the family of %s", m.tunnel[0])
	}
	return netip.Addr{}, m.why
}

// list gives the members by address. What several nodes have has the roles of all
// of them.
func (f *fabric) list() []maps.Member {
	byAddr := map[netip.Addr]maps.Member{}
	for _, m := range f.members {
		for _, a := range m.addrs {
			have := byAddr[a]
			byAddr[a] = maps.Member{Addr: a, Self: have.Self || m == f.own, LB: have.LB || m.lb, Backend: have.Backend || m.backend}
		}
	}
	out := make([]maps.Member, 0, len(byAddr))
	for _, m := range byAddr {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b maps.Member) int { return a.Addr.Compare(b.Addr) })
	return out
}

// addresses adds those of members to what is known of hosts' addresses.
func (f *fabric) addresses(nodes map[netip.Addr]string) map[netip.Addr]string {
	for _, m := range f.members {
		for _, a := range m.addrs {
			if have, known := nodes[a]; !known || m.name < have {
				nodes[a] = m.name
			}
		}
	}
	return nodes
}

// sources gives the addresses from which this node sends tunnel packets.
func (f *fabric) sources() []netip.Addr {
	if f.own == nil {
		return nil
	}
	return f.own.tunnel
}

// ingress gives the nodes to which there can be tunnels, by name.
func (f *fabric) ingress() (out []IngressNode) {
	for _, m := range f.members {
		if a, _ := f.tunnelTo(m); m.backend && m != f.own && a.IsValid() {
			out = append(out, IngressNode{m.name, a})
		}
	}
	slices.SortFunc(out, func(a, b IngressNode) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// without adds to the problems that this node has not the role that it needs, if
// others would need it to.
func (f *fabric) without(role, consequence string, has, needed bool) []Problem {
	if has || !needed {
		return f.problems
	}
	what := "the Node object of this node has not the role " + role
	if !f.known[f.self] {
		what = "this node has no Node object"
	}
	return append(slices.Clone(f.problems), Problem{Kind: "Node", Name: f.self, Field: annotation(RoleAnnotation),
		Message: fmt.Sprintf("%s, so that %s; give it an InternalIP and the annotation %s: %s", what, consequence, RoleAnnotation, role)})
}
