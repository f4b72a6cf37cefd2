package bgp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// Config is what a [Speaker] needs to know.
type Config struct {
	// ASN is our autonomous system.
	ASN uint32
	// RouterID is our BGP identifier, an IPv4 address that no other speaker of the network has.
	RouterID        netip.Addr
	GracefulRestart GracefulRestart
	// ListenPort is where passive peers connect to us; 0 means 179. Nothing listens without one.
	ListenPort uint16
	// Peers are the routers at the start; see Speaker.SetPeers for later.
	Peers []Peer
	// Restarting says that the data plane kept forwarding since the previous process: routers are
	// told that they may keep using our old routes until they have the new ones (RFC 4724).
	Restarting bool
}

// GracefulRestart is RFC 4724: routers keep our routes while we restart.
type GracefulRestart struct {
	Enabled bool
	// RestartTime is how long routers wait for us, 1 s to 4095 s; 0 means 120 s.
	RestartTime time.Duration
	// LongLived is how long routers keep our routes after that, as the last choice (RFC 9494), up to
	// 194 days; 0 turns it off.
	LongLived time.Duration
}

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
	// MaxPrefixesRestart is how long such a router is left alone; 0 means 5 minutes.
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

// Family is an address family; both are unicast.
type Family string

const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

const (
	defaultRestartTime  = 120 * time.Second
	maxRestartTime      = 4095 * time.Second // 12 bits, RFC 4724 section 3
	defaultHoldTime     = 90 * time.Second
	minHoldTime         = 3 * time.Second // RFC 4271 section 4.2
	maxHoldTime         = 65535 * time.Second
	defaultConnectRetry = 2 * time.Second
	maxPassword         = 80                        // TCP_MD5SIG_MAXKEYLEN
	maxLongLived        = (1<<24 - 1) * time.Second // 24 bits, RFC 9494 section 3

	defaultMaxPrefixesRestart = 5 * time.Minute
	defaultBFDInterval        = 300 * time.Millisecond
	defaultBFDMultiplier      = 3
)

// normal returns the configuration with its defaults filled in, or all that is wrong with it.
func (c Config) normal() (Config, error) {
	var errs []error
	if c.ASN == 0 {
		errs = append(errs, errors.New("BGP: own ASN is 0: give 1 to 4294967295"))
	}
	if !c.RouterID.Is4() || c.RouterID.IsUnspecified() {
		errs = append(errs, fmt.Errorf("BGP: router ID %q: give an IPv4 address that no other speaker has", c.RouterID))
	}
	gr := &c.GracefulRestart
	if gr.RestartTime == 0 {
		gr.RestartTime = defaultRestartTime
	}
	if gr.RestartTime < time.Second || gr.RestartTime > maxRestartTime {
		errs = append(errs, fmt.Errorf("BGP: graceful restart time %s: give 1s to %s", gr.RestartTime, maxRestartTime))
	}
	if l := gr.LongLived; l < 0 || l > maxLongLived || l%time.Second != 0 {
		errs = append(errs, fmt.Errorf("BGP: long-lived graceful restart time %s: give whole seconds up to %s", l, maxLongLived))
	}
	if gr.LongLived != 0 && !gr.Enabled {
		errs = append(errs, fmt.Errorf("BGP: long-lived graceful restart of %s without graceful restart: enable that too", gr.LongLived))
	}
	peers, err := normalPeers(c.Peers)
	c.Peers = peers
	return c, errors.Join(append(errs, err)...)
}

func normalPeers(peers []Peer) ([]Peer, error) {
	var errs []error
	names, addrs := map[string]bool{}, map[netip.Addr]string{}
	devices := map[string]string{} // of unnumbered peers
	normal := make([]Peer, 0, len(peers))
	for _, p := range peers {
		p, err := p.normal()
		if err != nil {
			errs = append(errs, fmt.Errorf("BGP peer %q: %w", p.Name, err))
		}
		if names[p.Name] {
			errs = append(errs, fmt.Errorf("BGP peer %q: another peer has this name", p.Name))
		}
		names[p.Name] = true
		if p.unnumbered() {
			if other, ok := devices[p.Interface]; ok {
				errs = append(errs, fmt.Errorf("BGP peer %q: peer %q is unnumbered on device %s too", p.Name, other, p.Interface))
			}
			devices[p.Interface] = p.Name
		} else {
			if other, ok := addrs[p.Address]; ok {
				errs = append(errs, fmt.Errorf("BGP peer %q: peer %q has the same address %s", p.Name, other, p.Address))
			}
			addrs[p.Address] = p.Name
		}
		normal = append(normal, p)
	}
	return normal, errors.Join(errs...)
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
	return errors.Join(errs...)
}

// LogValue shows the peer without its password.
func (p Peer) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", p.Name), slog.Any("address", p.Address), slog.Any("asn", p.ASN))
}
