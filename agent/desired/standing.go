package desired

import (
	"iter"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// standing is who comes first among the Services that ask for a VIP; nil where none does.
type standing struct {
	grantee *corev1.Service              // of those that package ipam gave it
	owner   *corev1.Service              // who has the best right to it
	ports   map[numbered]*corev1.Service // of those that count, by what they ask for
}

// standing looks through all Services that ask for a VIP, once until what they ask for
// changes: thousands may share one, and each of them asks.
func (m *Model) standing(vip netip.Addr) *standing {
	if s := m.standings[vip]; s != nil {
		return s
	}
	s := &standing{ports: map[numbered]*corev1.Service{}}
	first := func(have *corev1.Service, w *wish) *corev1.Service {
		if have == nil || seniority(w.svc, have) < 0 {
			return w.svc
		}
		return have
	}
	for name := range m.askers[vip] {
		w := &m.entries[name].wish
		s.owner = first(s.owner, w)
		if m.site.Allocated && !w.external[vip] {
			s.grantee = first(s.grantee, w)
		}
	}
	if s.grantee != nil {
		s.owner = s.grantee
	}
	for name := range m.askers[vip] {
		w := &m.entries[name].wish
		if s.grantee != nil && w.external[vip] {
			continue // externalIPs do not count where package ipam gave the address to somebody
		}
		for n := range w.numbers {
			s.ports[n] = first(s.ports[n], w)
		}
	}
	m.standings[vip] = s
	return s
}

// grantee gives the most senior Service that package ipam gave an address; nil if it gave
// it to none.
func (m *Model) grantee(vip netip.Addr) *corev1.Service { return m.standing(vip).grantee }

// owner gives the Service that has the best right to a VIP.
func (m *Model) owner(vip netip.Addr) *corev1.Service { return m.standing(vip).owner }

// holder gives the Service whose VIP an address is; nil if it is nobody's.
func (m *Model) holder(addr netip.Addr) *corev1.Service {
	if len(m.askers[addr]) == 0 {
		return nil
	}
	if _, lost := m.rival(addr); lost {
		return nil
	}
	return m.owner(addr)
}

// Sharing gives the names of the Services that ask for a VIP.
func (m *Model) Sharing(vip netip.Addr) iter.Seq[string] { return maps.Keys(m.askers[vip]) }
