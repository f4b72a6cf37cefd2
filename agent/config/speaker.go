package config

import "github.com/penstock-lb/penstock/bgp"

// BGP is the peer as the speaker takes it.
func (p *Peer) BGP() bgp.Peer {
	out := bgp.Peer{
		Name: p.Name, Address: p.Address, ASN: p.ASN, LocalAddress: p.LocalAddress,
		Password: p.Password.Reveal(), HoldTime: p.HoldTime, KeepaliveTime: p.KeepaliveTime,
		ConnectRetry: p.ConnectRetry, MultihopTTL: p.MultihopTTL, TTLSecurity: p.TTLSecurity, NextHop4: p.NextHop4, NextHop6: p.NextHop6,
	}
	for _, f := range p.Families {
		out.Families = append(out.Families, bgp.Family(f))
	}
	return out
}
