package bgp

import (
	"errors"
	"fmt"
	"net/netip"
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
