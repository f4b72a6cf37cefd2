package bgp

import "slices"

// Resets names what differs between two configurations of a peer that only a new session takes over;
// none if the change is made under the living one. Fields that are left to their defaults count as
// what these are.
func (p Peer) Resets(q Peer) []string {
	p, _ = p.normal()
	q, _ = q.normal()
	var fields []string
	for _, f := range []struct {
		name    string
		differs bool
	}{
		{"name", p.Name != q.Name},
		{"address", p.Address != q.Address},
		{"interface", p.Interface != q.Interface},
		{"asn", p.ASN != q.ASN},
		{"localASN", p.LocalASN != q.LocalASN},
		{"localAddress", p.LocalAddress != q.LocalAddress},
		{"localInterface", p.LocalInterface != q.LocalInterface},
		{"passive", p.Passive != q.Passive},
		{"port", p.Port != q.Port},
		{"holdTime", p.HoldTime != q.HoldTime},
		{"keepaliveTime", p.KeepaliveTime != q.KeepaliveTime},
		{"multihopTTL", p.MultihopTTL != q.MultihopTTL},
		{"ttlSecurity", p.TTLSecurity != q.TTLSecurity},
		{"nextHop4", p.NextHop4.Is6() != q.NextHop4.Is6()}, // a capability of the OPEN
		{"families", !slices.Equal(p.Families, q.Families)},
	} {
		if f.differs {
			fields = append(fields, f.name)
		}
	}
	return fields
}
