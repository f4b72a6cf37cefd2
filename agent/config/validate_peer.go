package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/bgp"
)

func (p *Peer) faults(key func(string) string) (found faults) {
	if strings.ContainsFunc(p.Name, func(r rune) bool { return r <= ' ' || r == 0x7f }) || len(p.Name) > 63 {
		found.add(key("name"), p.Name, "write at most 63 bytes without spaces")
	}
	found = append(found, p.placeFaults(key)...)
	found = append(found, p.nodeFaults(key)...)
	checkASN(&found, key("asn"), p.ASN)
	if p.LocalASN != 0 {
		checkASN(&found, key("localASN"), p.LocalASN)
	}
	found = append(found, p.sessionFaults(key)...)
	found = append(found, p.timers(key)...)
	found = append(found, p.routeFaults(key)...)
	found = append(found, p.bfdFaults(key)...)
	if len(found) > 0 {
		return found
	}
	// What bgp refuses beyond that, so that the two cannot drift apart.
	if err := p.check(); err != nil {
		found.add(strings.TrimSuffix(key(""), "."), p.Name, "%w", err)
	}
	return found
}

// check is bgp's, of a peer whose router is known: that of a gateway stands for any router
// of its family.
func (p *Peer) check() error {
	q := p.BGP()
	switch {
	case p.Gateway == string(bgp.IPv4):
		q.Address = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	case p.Gateway == string(bgp.IPv6):
		q.Address = netip.MustParseAddr("2001:db8::1")
	}
	return q.Check()
}

// placeFaults checks what says where the router is.
func (p *Peer) placeFaults(key func(string) string) (found faults) {
	if p.Gateway != "" {
		if err := oneOf(p.Gateway, []string{"ipv4", "ipv6"}); err != nil {
			found.add(key("gateway"), p.Gateway, "%w", err)
		}
		if p.Address.IsValid() {
			found.add(key("gateway"), p.Gateway, "the default route says which router it is, and address says %s; remove one", p.Address)
		}
		if p.Interface != "" {
			found.add(key("interface"), p.Interface, "gateway is %s, and the default route says by which device; remove one", p.Gateway)
		}
		return found
	}
	if p.Interface != "" {
		checkDevice(&found, key("interface"), p.Interface)
	}
	switch a := p.Address; {
	case !a.IsValid() && p.Interface == "":
		found.add(key("address"), "", "write the router's IP address; or interface, for the router on a device, or gateway, for that of the default route")
	case !a.IsValid():
	case a.IsUnspecified() || a.IsMulticast():
		found.add(key("address"), a.String(), "write the unicast address of a router")
	case a.Is4(): // has no zone, also where it is link-local
	case !a.IsLinkLocalUnicast() && a.Zone() != "":
		found.add(key("address"), a.String(), "only a link-local address has a zone; write %s, and interface: %s to bind the session to the device", a.WithZone(""), a.Zone())
	case a.IsLinkLocalUnicast() && a.Zone() == "" && p.Interface == "":
		found.add(key("address"), a.String(), "it is link-local, and any device may have it; write the device behind it, as in %s%%eth1, or as interface", a)
	case a.Zone() != "" && p.Interface != "" && a.Zone() != p.Interface:
		found.add(key("interface"), p.Interface, "the address %s is on %s; write the same device, or remove one", a, a.Zone())
	case a.Zone() != "":
		checkDevice(&found, key("address"), a.Zone())
	}
	return found
}

// nodeFaults checks what says which nodes have the peer.
func (p *Peer) nodeFaults(key func(string) string) (found faults) {
	for i, n := range p.Nodes {
		if fault := nodeName(n); fault != "" {
			found.add(key("nodes"), n, "%s", fault)
		} else if slices.Contains(p.Nodes[:i], n) {
			found.add(key("nodes"), n, "it is listed twice; remove one")
		}
	}
	return found
}

// sessionFaults checks how the session is opened, and from where.
func (p *Peer) sessionFaults(key func(string) string) (found faults) {
	onLink := p.Unnumbered() || p.Address.Is6() && p.Address.IsLinkLocalUnicast()
	if l := p.LocalAddress; l.IsValid() && p.Address.IsValid() && l.Is4() != p.Address.Is4() {
		found.add(key("localAddress"), l.String(), "the peer's address %s is of the other family; write one of the same", p.Address)
	} else if l.IsValid() && p.Gateway != "" && l.Is4() != (p.Gateway == "ipv4") {
		found.add(key("localAddress"), l.String(), "gateway is %s; write an address of that family, or remove it", p.Gateway)
	}
	if p.LocalInterface != "" {
		checkDevice(&found, key("localInterface"), p.LocalInterface)
	}
	switch {
	case p.LocalInterface != "" && p.LocalAddress.IsValid():
		found.add(key("localInterface"), p.LocalInterface, "localAddress says %s; remove one", p.LocalAddress)
	case p.LocalInterface != "" && p.Passive:
		found.add(key("localInterface"), p.LocalInterface, "passive is true: the router says by which address it connects; write that as localAddress, or remove it")
	case p.LocalInterface != "" && onLink:
		found.add(key("localInterface"), p.LocalInterface, "the session is between link-local addresses; remove it")
	case p.Unnumbered() && p.LocalAddress.IsValid():
		found.add(key("localAddress"), p.LocalAddress.String(), "the peer is unnumbered: the session is between link-local addresses of %s; remove it", p.Interface)
	}
	within(&found, key("port"), p.Port, 1, 65535)
	if p.Passive && p.Unnumbered() {
		found.add(key("passive"), "true", "the peer is unnumbered, and which router connects is told by its address; write its address, or remove it")
	}
	if p.Passive && p.Port != bgpPort {
		found.add(key("port"), fmt.Sprint(p.Port), "passive is true: the router connects, from a port of its own; remove one, or set bgp.listenPort")
	}
	switch {
	case p.MultihopTTL != 0 && onLink:
		found.add(key("multihopTTL"), fmt.Sprint(p.MultihopTTL), "no router forwards link-local addresses; remove it, or give the router's global address")
	case p.TTLSecurity && p.MultihopTTL != 0:
		found.add(key("ttlSecurity"), "true", "it is for directly connected routers and multihopTTL is %d; remove one", p.MultihopTTL)
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

// routeFaults checks what is said of routes, ours and the router's.
func (p *Peer) routeFaults(key func(string) string) (found faults) {
	for i, f := range p.Families {
		if err := oneOf(f, []string{"ipv4", "ipv6"}); err != nil {
			found.add(key("families"), f, "%w", err)
		} else if slices.Contains(p.Families[:i], f) {
			found.add(key("families"), f, "it is listed twice; remove one")
		}
	}
	nextHop(&found, key("nextHop4"), p.NextHop4, netip.Addr.Is4, "an IPv4")
	nextHop(&found, key("nextHop6"), p.NextHop6, netip.Addr.Is6, "an IPv6")
	wholeSeconds(&found, key("maxPrefixesRestart"), p.MaxPrefixesRestart, time.Second, 24*time.Hour)
	if d := defaultPeer().MaxPrefixesRestart; p.MaxPrefixes == 0 && p.MaxPrefixesRestart != d {
		found.add(key("maxPrefixesRestart"), p.MaxPrefixesRestart.String(), "maxPrefixes is not set, so that no session ends for it; set maxPrefixes, or remove it")
	}
	return found
}

func nextHop(found *faults, key string, a netip.Addr, of func(netip.Addr) bool, family string) {
	if a.IsValid() && (!of(a) || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback()) {
		found.add(key, a.String(), "write %s unicast address", family)
	}
}

func (p *Peer) bfdFaults(key func(string) string) (found faults) {
	within(&found, key("bfdInterval"), p.BFDInterval, 10*time.Millisecond, time.Minute)
	within(&found, key("bfdMultiplier"), p.BFDMultiplier, 1, 255)
	if p.BFD {
		return found
	}
	const off = "bfd is false, so that it means nothing; set bfd: true, or remove it"
	def := defaultPeer()
	if p.BFDInterval != def.BFDInterval {
		found.add(key("bfdInterval"), p.BFDInterval.String(), off)
	}
	if p.BFDMultiplier != def.BFDMultiplier {
		found.add(key("bfdMultiplier"), fmt.Sprint(p.BFDMultiplier), off)
	}
	if p.BFDMultihop {
		found.add(key("bfdMultihop"), "true", off)
	}
	return found
}
