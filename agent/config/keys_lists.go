package config

import "github.com/penstock-lb/penstock/agent/ipam"

// peerSettings are those of one entry of bgp.peers. A change of one peer leaves
// the sessions of the others alone.
var peerSettings = []setting[Peer]{
	{Key{"name", "", live, "Name in logs, metrics and `penstock bgp peers`; empty: the address"},
		func(p *Peer) value { return stringValue{&p.Name} }},
	{Key{"address", "", live, "The router's address"},
		func(p *Peer) value { return addrValue{&p.Address} }},
	{Key{"asn", "", live, "The router's autonomous system number"},
		func(p *Peer) value { return uintValue[uint32]{&p.ASN} }},
	{Key{"localAddress", "", live, "This node's end of the session; empty: chosen by route"},
		func(p *Peer) value { return addrValue{&p.LocalAddress} }},
	{Key{"passwordFile", "", live, "File with the password of TCP MD5 (RFC 2385); a line break at its end does not count"},
		func(p *Peer) value { return stringValue{&p.PasswordFile} }},
	{Key{"holdTime", "", live, "Silence after which a peer is given up, whole seconds from 3s (RFC 4271)"},
		func(p *Peer) value { return durationValue{&p.HoldTime} }},
	{Key{"keepaliveTime", "", live, "Interval of keepalives, whole seconds, at most a third of the hold time"},
		func(p *Peer) value { return durationValue{&p.KeepaliveTime} }},
	{Key{"connectRetry", "", live, "Interval of attempts to connect, whole seconds"},
		func(p *Peer) value { return durationValue{&p.ConnectRetry} }},
	{Key{"multihopTTL", "", live, "TTL of our packets to a router that is not directly connected; 0: it is"},
		func(p *Peer) value { return uintValue[uint8]{&p.MultihopTTL} }},
	{Key{"ttlSecurity", "", live, "Accept only packets that no router has forwarded (GTSM, RFC 5082); the router must do the same"},
		func(p *Peer) value { return boolValue{&p.TTLSecurity} }},
	{Key{"families", "", live, "Address families of the routes: `ipv4`, `ipv6` or both; empty: that of `address`, and those with a next hop"},
		func(p *Peer) value { return listValue{&p.Families} }},
	{Key{"nextHop4", "", live, "Next hop of IPv4 routes; empty: this node"},
		func(p *Peer) value { return addrValue{&p.NextHop4} }},
	{Key{"nextHop6", "", live, "Next hop of IPv6 routes; empty: this node"},
		func(p *Peer) value { return addrValue{&p.NextHop6} }},
}

// poolSettings are those of one entry of pools. A change of one leaves the addresses of
// Services alone.
var poolSettings = []setting[ipam.Pool]{
	{Key{"name", "", live, "Name in Events, conditions, metrics and the annotation `penstock.dev/pool`"},
		func(p *ipam.Pool) value { return stringValue{&p.Name} }},
	{Key{"addresses", "", live, "Networks in CIDR notation and ranges, as in `192.0.2.10-192.0.2.20`, of one family or both, that Services get addresses of"},
		func(p *ipam.Pool) value { return rangesValue{&p.Ranges} }},
	{Key{"priority", "", live, "Of the pools that could serve a Service, the one of the lowest number is asked first, then by name"},
		func(p *ipam.Pool) value { return intValue{&p.Priority} }},
	{Key{"autoAssign", "", live, "Give addresses to Services that ask for none in particular; if false, only to those that ask for the pool or for an address of it"},
		func(p *ipam.Pool) value { return boolValue{&p.AutoAssign} }},
	{Key{"avoidBuggyIPs", "", live, "Leave out, unless a Service asks for one, IPv4 addresses that end in .0 or .255, which some clients cannot reach, and the first address of an IPv6 network up to /126, which is that of all its routers (RFC 4291, 2.6.1)"},
		func(p *ipam.Pool) value { return boolValue{&p.AvoidBuggyIPs} }},
	{Key{"namespaces", "", live, "Namespaces whose Services may have addresses of the pool; empty: all. Where `namespaceSelector` or `serviceSelector` is set too, each of them must allow a Service"},
		func(p *ipam.Pool) value { return listValue{&p.Namespaces} }},
	{Key{"namespaceSelector", "", live, "Label selector of the namespaces whose Services may have addresses of the pool; empty: all"},
		func(p *ipam.Pool) value { return selectorValue{&p.NamespaceSelector} }},
	{Key{"serviceSelector", "", live, "Label selector of the Services that may have addresses of the pool, as in `tier in (web, api)`; empty: all"},
		func(p *ipam.Pool) value { return selectorValue{&p.ServiceSelector} }},
}
