package bgp

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/penstock-lb/penstock/bgp/bfd"
)

func (p Peer) checkAddresses() error {
	var errs []error
	if p.Name == "" {
		errs = append(errs, errors.New("no name: give one"))
	}
	switch a := p.Address; {
	case p.unnumbered() && p.Passive:
		errs = append(errs, fmt.Errorf("unnumbered on device %s and passive: give the router's address, or let us connect", p.Interface))
	case p.unnumbered() && p.MultihopTTL != 0:
		errs = append(errs, fmt.Errorf("unnumbered on device %s with multihop TTL %d: give only one of the two", p.Interface, p.MultihopTTL))
	case p.unnumbered():
	case !a.IsValid():
		errs = append(errs, errors.New("neither address nor interface: give the router's address, or the device that it is on"))
	case a.IsUnspecified() || a.IsMulticast():
		errs = append(errs, fmt.Errorf("address %q: give the router's unicast address", a))
	case a.Is6() && a.IsLinkLocalUnicast() != (a.Zone() != ""):
		errs = append(errs, fmt.Errorf("address %s: link-local addresses, and no others, have a zone: give it as in fe80::1%%eth0", a))
	case a.Zone() != "" && p.Interface != "" && a.Zone() != p.Interface:
		errs = append(errs, fmt.Errorf("address %s is on another device than %s: give only one of the two", a, p.Interface))
	}
	if p.ASN == 0 {
		errs = append(errs, errors.New("ASN is 0: give 1 to 4294967295"))
	}
	return errors.Join(errs...)
}

func (p Peer) checkLocal() error {
	var errs []error
	if l := p.LocalAddress; l.IsValid() && (l.IsUnspecified() || familyOf(l) != p.family()) {
		errs = append(errs, fmt.Errorf("local address %s does not fit the peer's address %s: give one of the same family", l, p.Address))
	}
	if p.LocalAddress.IsValid() && p.LocalInterface != "" {
		errs = append(errs, fmt.Errorf("local address %s and local interface %s: give only one of the two", p.LocalAddress, p.LocalInterface))
	}
	if p.Passive && p.Port != 0 {
		errs = append(errs, fmt.Errorf("port %d of a passive peer: it connects to us; remove the port", p.Port))
	}
	if p.Passive && p.LocalInterface != "" {
		errs = append(errs, fmt.Errorf("local interface %s of a passive peer: give the local address", p.LocalInterface))
	}
	return errors.Join(errs...)
}

func (p Peer) checkTimers() error {
	var errs []error
	for what, d := range map[string]time.Duration{"hold": p.HoldTime, "keepalive": p.KeepaliveTime, "connect retry": p.ConnectRetry} {
		if d < time.Second || d > maxHoldTime || d%time.Second != 0 {
			errs = append(errs, fmt.Errorf("%s time %s: give whole seconds from 1s to %s", what, d, maxHoldTime))
		}
	}
	if p.HoldTime < minHoldTime {
		errs = append(errs, fmt.Errorf("hold time %s: give %s or more", p.HoldTime, minHoldTime))
	}
	if p.KeepaliveTime >= p.HoldTime {
		errs = append(errs, fmt.Errorf("keepalive time %s: give less than the hold time %s", p.KeepaliveTime, p.HoldTime))
	}
	if p.MaxPrefixesRestart < time.Second {
		errs = append(errs, fmt.Errorf("restart %s after too many prefixes: give 1s or more", p.MaxPrefixesRestart))
	}
	return errors.Join(errs...)
}

func (p Peer) checkFamilies() error {
	var errs []error
	for i, f := range p.Families {
		if f != IPv4 && f != IPv6 {
			errs = append(errs, fmt.Errorf("family %q: give %s or %s", f, IPv4, IPv6))
		}
		if i > 0 && f == p.Families[i-1] {
			errs = append(errs, fmt.Errorf("family %s is listed twice", f))
		}
	}
	for _, nh := range []struct {
		addr   netip.Addr
		family Family
	}{{p.NextHop4, IPv4}, {p.NextHop6, IPv6}} {
		if !nh.addr.IsValid() {
			continue
		}
		// IPv4 may have an IPv6 next hop (RFC 8950), and IPv6 no IPv4 one.
		if nh.family == IPv6 && nh.addr.Is4() || nh.addr.Is4In6() || nh.addr.IsUnspecified() || nh.addr.IsMulticast() {
			errs = append(errs, fmt.Errorf("next hop %s for %s: give a unicast address, for ipv6 an IPv6 one", nh.addr, nh.family))
		}
		if !slices.Contains(p.Families, nh.family) {
			errs = append(errs, fmt.Errorf("next hop %s for %s, which the session does not carry: add the family or remove the next hop", nh.addr, nh.family))
		}
	}
	return errors.Join(errs...)
}

func (p Peer) checkAuth() error {
	var errs []error
	if len(p.Password) > maxPassword {
		errs = append(errs, fmt.Errorf("password of %d bytes: give at most %d", len(p.Password), maxPassword))
	}
	if p.TTLSecurity && p.MultihopTTL != 0 {
		errs = append(errs, fmt.Errorf("TTL security with multihop TTL %d: give only one of the two", p.MultihopTTL))
	}
	return errors.Join(append(errs, p.checkBFD())...)
}

// checkBFD applies package bfd's own limits.
func (p Peer) checkBFD() error {
	if !p.BFD.Enabled {
		return nil
	}
	if p.unnumbered() && p.BFD.Multihop {
		return fmt.Errorf("BFD over several hops of a peer that is unnumbered on device %s: nothing forwards link-local addresses; remove it", p.Interface)
	}
	if !p.Address.IsValid() {
		return nil
	}
	err := bfd.Session{
		Name: cmp.Or(p.Name, "peer"), Peer: p.Address, Multihop: p.BFD.Multihop,
		MinTx: p.BFD.Interval, MinRx: p.BFD.Interval, Multiplier: p.BFD.Multiplier,
	}.Check()
	if session, ok := errors.AsType[*bfd.SessionError](err); ok {
		return fmt.Errorf("BFD: %w", session.Err)
	}
	return err
}
