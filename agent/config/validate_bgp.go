package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

func (b *BGP) faults() (found faults) {
	found = append(found, b.lifecycle()...)
	if b.ASN != 0 || len(b.Peers) > 0 {
		checkASN(&found, "bgp.asn", b.ASN)
	}
	if id := b.RouterID; id.IsValid() && (!id.Is4() || id.IsUnspecified()) {
		found.add("bgp.routerID", id.String(), "write it as an IPv4 address other than 0.0.0.0")
	}
	// The field has 12 bits (RFC 4724, section 3).
	wholeSeconds(&found, "bgp.gracefulRestart.restartTime", b.GracefulRestart.RestartTime, time.Second, 4095*time.Second)
	for i := range b.Peers {
		found = append(found, b.Peers[i].faults(func(name string) string { return peerKey(i, name) })...)
		for j := range b.Peers[:i] {
			found = append(found, twins(&b.Peers[j], &b.Peers[i], j, i)...)
		}
	}
	return found
}

// twins refuses two peers, the ith and the jth, of one name or one address.
func twins(a, b *Peer, i, j int) (found faults) {
	if a.Address.IsValid() && a.Address == b.Address {
		found.add(peerKey(j, "address"), b.Address.String(), "bgp.peers[%d] has the same address; remove one of them", i)
	} else if a.Name == b.Name && a.Name != "" {
		found.add(peerKey(j, "name"), b.Name, "bgp.peers[%d] has the same name; rename one of them", i)
	}
	return found
}

func (p *Peer) faults(key func(string) string) (found faults) {
	if strings.ContainsFunc(p.Name, func(r rune) bool { return r <= ' ' || r == 0x7f }) || len(p.Name) > 63 {
		found.add(key("name"), p.Name, "write at most 63 bytes without spaces")
	}
	switch a := p.Address; {
	case !a.IsValid():
		found.add(key("address"), "", "write the router's IP address")
	case a.IsUnspecified() || a.IsMulticast():
		found.add(key("address"), a.String(), "write the unicast address of a router")
	case a.IsLinkLocalUnicast() || a.Zone() != "":
		found.add(key("address"), a.String(), "a session over link-local addresses is not supported; give the router an address of the network and write that")
	}
	checkASN(&found, key("asn"), p.ASN)
	if l := p.LocalAddress; l.IsValid() && p.Address.IsValid() && l.Is4() != p.Address.Is4() {
		found.add(key("localAddress"), l.String(), "the peer's address %s is of the other family; write one of the same", p.Address)
	}
	found = append(found, p.timers(key)...)
	for i, f := range p.Families {
		if err := oneOf(f, []string{"ipv4", "ipv6"}); err != nil {
			found.add(key("families"), f, "%w", err)
		} else if slices.Contains(p.Families[:i], f) {
			found.add(key("families"), f, "it is listed twice; remove one")
		}
	}
	if p.TTLSecurity && p.MultihopTTL != 0 {
		found.add(key("ttlSecurity"), "true", "it is for directly connected routers and multihopTTL is %d; remove one", p.MultihopTTL)
	}
	nextHop(&found, key("nextHop4"), p.NextHop4, netip.Addr.Is4, "an IPv4")
	nextHop(&found, key("nextHop6"), p.NextHop6, netip.Addr.Is6, "an IPv6")
	if len(found) > 0 {
		return found
	}
	// What bgp refuses beyond that, so that the two cannot drift apart.
	if err := p.BGP().Check(); err != nil {
		found.add(strings.TrimSuffix(key(""), "."), p.Name, "%w", err)
	}
	return found
}

// timers applies RFC 4271, sections 4.2 and 4.4: the hold time is at least 3 s and
// lasts three keepalives. Its 0, for ever, is refused: a dead router would keep
// its session and nobody would know.
func (p *Peer) timers(key func(string) string) (found faults) {
	const most = 65535 * time.Second
	wholeSeconds(&found, key("holdTime"), p.HoldTime, 3*time.Second, most)
	wholeSeconds(&found, key("keepaliveTime"), p.KeepaliveTime, time.Second, most)
	if len(found) == 0 && p.KeepaliveTime*3 > p.HoldTime {
		found.add(key("keepaliveTime"), p.KeepaliveTime.String(), "write at most a third of the hold time, which is %s", p.HoldTime)
	}
	wholeSeconds(&found, key("connectRetry"), p.ConnectRetry, time.Second, most)
	return found
}

func nextHop(found *faults, key string, a netip.Addr, of func(netip.Addr) bool, family string) {
	if a.IsValid() && (!of(a) || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback()) {
		found.add(key, a.String(), "write %s unicast address", family)
	}
}

// checkASN refuses what no speaker may have: 0 (RFC 7607), AS_TRANS (RFC 6793)
// and the last ones (RFC 7300).
func checkASN(found *faults, key string, asn uint32) {
	switch asn {
	case 0:
		found.add(key, "", "write an autonomous system number; 64512–65534 and 4200000000–4294967294 are for private use")
	case 23456, 65535, 4294967295:
		found.add(key, fmt.Sprint(asn), "this number is reserved; 64512–65534 and 4200000000–4294967294 are for private use")
	}
}
