package desired

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

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
	port        uint16       // tunnel.port of its agents; 0: they do not say
	unready     string       // why its agent of role backend says that it is not ready
	lbUnready   string       // why its agent of role lb does
	lbAlive     time.Time    // when the agent of that role said so last; zero: it does not
}

// noter makes a Problem of a Node, and gives it as text.
type noter func(field, value, format string, args ...any) string

// members reads the annotations of nodes. The result is sorted by name.
func members(nodes []*corev1.Node, site Site) (out []member, problems []Problem) {
	nodes = slices.SortedFunc(slices.Values(nodes), func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	owner := map[netip.Addr]string{}
	for _, n := range nodes {
		m := member{name: n.Name}
		note := func(field, value, format string, args ...any) string {
			p := Problem{Kind: "Node", Name: n.Name, Field: field, Value: value, Message: fmt.Sprintf(format, args...)}
			problems = append(problems, p)
			return p.Field + ": " + p.Message
		}
		m.roles(n, site, note)
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

// roles reads what n is, by hand or by what its agents publish.
func (m *member) roles(n *corev1.Node, site Site, note noter) {
	if text, set := n.Annotations[RoleAnnotation]; set {
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
	}
	for _, name := range []string{BackendAnnotation, LBAnnotation} {
		p, ok, why := published(n, name)
		if why != "" {
			note(annotation(name), n.Annotations[name], "%s, so that it does not count; the agent of that node writes it anew when it starts", why)
		}
		if !ok {
			continue
		}
		if p.TunnelPort != 0 && site.TunnelPort != 0 && p.TunnelPort != site.TunnelPort {
			note(annotation(name), fmt.Sprint(p.TunnelPort), "its tunnel.port is %d and this node's is %d, so that there is no tunnel between them; make it the same everywhere", p.TunnelPort, site.TunnelPort)
		}
		if name == LBAnnotation && n.Name != site.Node {
			p.compare(site, note)
		}
		if name == LBAnnotation {
			m.lb, m.lbUnready, m.lbAlive = true, p.unready(), p.Alive
			continue
		}
		m.backend, m.port, m.unready = true, p.TunnelPort, p.unready()
	}
	if m.lb && site.LBNodes != nil && !site.LBNodes.Matches(n.Labels) && !slices.Contains(site.Lingering, n.Name) {
		m.lb = false
		note("metadata.labels", "", "it has the role lb, but lbNodes %s of the configuration does not choose it, so that nobody takes tunnel packets from it; label it, or end the agent there", site.LBNodes)
	}
}

// compare says what another LB node does by other settings than this one.
func (p Published) compare(site Site, note noter) {
	other := func(mine, its string) bool { return mine != "" && its != "" && mine != its }
	if other(site.Placement, p.Placement) {
		note(annotation(LBAnnotation), p.Placement, "it places flows by other settings than this node, so that flows break which ECMP moves between them; make datapath.seed, datapath.rows, chains.retention, slack, extraRanks and longest, and forwarding the same on all LB nodes")
	}
	if other(site.Allocation, p.Allocation) {
		note(annotation(LBAnnotation), p.Allocation, "it gives addresses by other settings than this node, so that they are judged otherwise when another of the two leads; make pools, vips and defaultClass the same on all LB nodes")
	}
}

// place finds m's addresses: those of TunnelAnnotation, else its InternalIPs. Packets may
// come from all of them.
func (m *member) place(n *corev1.Node, note noter) {
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
		m.named(text, note)
		return
	}
	m.tunnel = slices.SortedStableFunc(slices.Values(m.addrs), func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) })
	if len(m.addrs) == 0 && m.why == "" {
		m.why = note("status.addresses", "", "there is no InternalIP, so that there can be no tunnel; add one, or the annotation %s", TunnelAnnotation)
	}
}

// named takes the addresses of TunnelAnnotation: all of them or, as a mistake may be in
// any, none.
func (m *member) named(text string, note noter) {
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
	port     uint16 // tunnel.port of this node; 0: not to be compared
	problems []Problem

	publishes, fresh bool // as in Site
}

func newFabric(nodes []*corev1.Node, site Site) *fabric {
	list, problems := members(nodes, site)
	f := &fabric{self: site.Node, members: map[string]*member{}, known: map[string]bool{}, port: site.TunnelPort, problems: problems,
		publishes: site.Publishes, fresh: site.Fresh}
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

// elsewhere reports whether m takes tunnel packets on another port than this node sends to.
func (f *fabric) elsewhere(m *member) bool { return m.port != 0 && f.port != 0 && m.port != f.port }

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
		if a, _ := f.tunnelTo(m); m.backend && m != f.own && a.IsValid() && !f.elsewhere(m) {
			out = append(out, IngressNode{m.name, a})
		}
	}
	slices.SortFunc(out, func(a, b IngressNode) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// without adds to the problems that this node has not the role that it needs, if
// others would need it to.
func (f *fabric) without(role, consequence string, has, needed bool) []Problem {
	if has || !needed || f.fresh {
		return f.problems
	}
	what, remedy := "the Node object of this node has not the role "+role, fmt.Sprintf("give it an InternalIP and the annotation %s: %s", RoleAnnotation, role)
	if f.publishes {
		remedy = fmt.Sprintf("its agent publishes that in the annotation penstock.dev/%s: see in the log why it cannot, and that no admission policy keeps it from it", role)
	}
	if !f.known[f.self] && f.publishes {
		remedy = "set the key node to the name of its Node object"
	}
	if !f.known[f.self] {
		what = "this node has no Node object"
	}
	return append(slices.Clone(f.problems), Problem{Kind: "Node", Name: f.self, Field: annotation(RoleAnnotation),
		Message: fmt.Sprintf("%s, so that %s; %s", what, consequence, remedy)})
}
