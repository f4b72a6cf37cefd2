package bgp

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// Peer is a router that we have a session with.
type Peer struct {
	// Name is the peer's name in logs, errors, states and offers; unique.
	Name string
	// Address is the router's address, with a zone if it is link-local; unique. Invalid with
	// Interface, the peer is unnumbered: the router is found by its router advertisements.
	Address netip.Addr
	// Interface binds the session to a device.
	Interface string
	// ASN is the router's autonomous system; equal to ours, the session is iBGP.
	ASN uint32
	// LocalASN is our autonomous system to this router; 0 means Config.ASN.
	LocalASN uint32
	// LocalAddress is our end of the session; zero, the route to the peer chooses it.
	LocalAddress netip.Addr
	// LocalInterface names a device whose first global address is our end of the session, as it is
	// at the time of each attempt. It excludes LocalAddress.
	LocalInterface string
	// Passive waits for the router to connect, at Config.ListenPort.
	Passive bool
	// Port is the router's TCP port; 0 means 179.
	Port uint16
	// Password is the TCP MD5 signature's key (RFC 2385), at most 80 bytes; empty for none. It is
	// changed without ending the session.
	Password string
	// HoldTime is when a silent session counts as dead, in whole seconds from 3 s; 0 means 90 s.
	HoldTime time.Duration
	// KeepaliveTime is how often we send, in whole seconds; 0 means a third of HoldTime.
	KeepaliveTime time.Duration
	// ConnectRetry is the time between attempts, in whole seconds; 0 means 2 s.
	ConnectRetry time.Duration
	// MultihopTTL is the TTL of an eBGP session over routers; 0 for a directly connected peer.
	MultihopTTL uint8
	// TTLSecurity accepts only packets that no router has forwarded (RFC 5082). The peer must do
	// the same. It excludes MultihopTTL.
	TTLSecurity bool
	// Families are carried by the session. Empty means the family of Address, and the other one too
	// if the next hop for it is set; both for an unnumbered peer.
	Families []Family
	// NextHop4 and NextHop6 are announced as next hops instead of our end of the session. NextHop6
	// is required for IPv6 over an IPv4 session; IPv4 over an IPv6 session without NextHop4 gets an
	// IPv6 next hop (RFC 8950).
	NextHop4, NextHop6 netip.Addr
	// MaxPrefixes is how many routes of a family the router may send before we end the session; 0
	// for any number.
	MaxPrefixes uint32
	// MaxPrefixesRestart is how long such a router is left alone, unless one of the two is changed
	// meanwhile; 0 means 5 minutes.
	MaxPrefixesRestart time.Duration
	BFD                BFD
}

// BFD says how the path to a router is watched (RFC 5880) while there is a session with it.
type BFD struct {
	Enabled bool
	// Interval between packets, ours and the least that we ask of the router; 0 means 300 ms.
	Interval time.Duration
	// Multiplier is how many intervals of silence make the path dead; 0 means 3.
	Multiplier uint8
	// Multihop uses RFC 5883 and its UDP port 4784 instead of RFC 5881; implied by MultihopTTL. FRR
	// does so for neighbors with ttl-security.
	Multihop bool
}

// Check returns all that New and SetPeers would refuse about the peer alone.
func (p Peer) Check() error {
	_, err := p.normal()
	return err
}

func (p Peer) normal() (Peer, error) {
	p.Address = p.Address.Unmap()
	p.LocalAddress = p.LocalAddress.Unmap()
	p.HoldTime = orDefault(p.HoldTime, defaultHoldTime)
	p.KeepaliveTime = orDefault(p.KeepaliveTime, (p.HoldTime / 3).Truncate(time.Second))
	p.ConnectRetry = orDefault(p.ConnectRetry, defaultConnectRetry)
	p.MaxPrefixesRestart = orDefault(p.MaxPrefixesRestart, defaultMaxPrefixesRestart)
	if p.BFD.Enabled {
		p.BFD.Interval = orDefault(p.BFD.Interval, defaultBFDInterval)
		if p.BFD.Multiplier == 0 {
			p.BFD.Multiplier = defaultBFDMultiplier
		}
		p.BFD.Multihop = p.BFD.Multihop || p.MultihopTTL != 0
	}
	if len(p.Families) == 0 {
		p.Families = p.impliedFamilies()
	}
	p.Families = slices.Sorted(slices.Values(p.Families))
	return p, errors.Join(p.checkAddresses(), p.checkLocal(), p.checkTimers(), p.checkFamilies(), p.checkAuth())
}

func orDefault(v, def time.Duration) time.Duration {
	if v == 0 {
		return def
	}
	return v
}

// unnumbered says that the router has no configured address.
func (p Peer) unnumbered() bool { return !p.Address.IsValid() && p.Interface != "" }

// family is that of the session's addresses.
func (p Peer) family() Family {
	if p.unnumbered() {
		return IPv6
	}
	return familyOf(p.Address)
}

// ownASN is our AS to this router.
func (p Peer) ownASN(ours uint32) uint32 {
	if p.LocalASN != 0 {
		return p.LocalASN
	}
	return ours
}

func (p Peer) impliedFamilies() []Family {
	if p.unnumbered() {
		return []Family{IPv4, IPv6}
	}
	var families []Family
	if p.Address.Is4() || p.NextHop4.IsValid() {
		families = append(families, IPv4)
	}
	if p.Address.Is6() || p.NextHop6.IsValid() {
		families = append(families, IPv6)
	}
	return families
}

// LogValue shows the peer without its password.
func (p Peer) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", p.Name), slog.Any("address", p.Address), slog.Any("asn", p.ASN))
}
