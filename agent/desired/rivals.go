package desired

import "net/netip"

// rival names the Service, by namespace/name, whose endpoint's address a VIP is, and
// which has it. An address cannot be both: the data path would take what it sends to
// the endpoint for a client's packet.
//
// The VIP yields, because whoever may write a Service can ask for any address
// and would get the traffic of others' endpoints, and slices are written by
// controllers. It stands only against an endpoint that is no pod's, as whoever
// may write slices could else end any VIP: there the older Service has the
// address where both ages are known, and what points to a VIP from a Service
// that is not ours does no harm.
func (m *Model) rival(vip netip.Addr) (name string, lost bool) {
	if len(m.homes[vip]) == 0 {
		return "", false
	}
	holder := m.owner(vip)
	if holder == nil {
		return "", false
	}
	for other := range m.homes[vip] {
		w := m.entries[other].wish
		takes := w.ends[vip] || w.svc != nil && !older(holder, w.svc)
		if takes && (!lost || other < name) {
			name, lost = other, true
		}
	}
	return name, lost
}
