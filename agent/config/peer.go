package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"github.com/penstock-lb/penstock/bgp"
)

// Peer is one router. It is found at Address, as the next hop of a default route
// (Gateway), or by its router advertisements where there is an Interface alone.
type Peer struct {
	Name         string // as defaultName gives it unless set
	Address      netip.Addr
	Gateway      string // ipv4 or ipv6; empty: none
	Interface    string
	Nodes        []string // that have the peer; empty: all
	NodeSelector string   // of the Nodes that have it; empty: all

	ASN            uint32
	LocalASN       uint32     // 0: BGP.ASN
	LocalAddress   netip.Addr // invalid: chosen by route
	LocalInterface string
	Passive        bool
	Port           uint16
	PasswordFile   string
	Password       Secret // what PasswordFile holds
	HoldTime       time.Duration
	KeepaliveTime  time.Duration
	ConnectRetry   time.Duration
	MultihopTTL    uint8 // 0: directly connected
	TTLSecurity    bool
	Families       []string   // ipv4, ipv6; empty: that of Address and those with a next hop
	NextHop4       netip.Addr // invalid: this node
	NextHop6       netip.Addr // invalid: this node

	MaxPrefixes        uint32 // 0: any number
	MaxPrefixesRestart time.Duration

	BFD           bool
	BFDInterval   time.Duration
	BFDMultiplier uint8
	BFDMultihop   bool
}

// bgpPort is what IANA has for BGP (RFC 4271).
const bgpPort = 179

func defaultPeer() Peer {
	return Peer{
		Port: bgpPort, HoldTime: 9 * time.Second, KeepaliveTime: 3 * time.Second, ConnectRetry: 2 * time.Second,
		MaxPrefixesRestart: 5 * time.Minute, BFDInterval: 300 * time.Millisecond, BFDMultiplier: 3,
	}
}

// Unnumbered tells whether the router is found by its router advertisements.
func (p *Peer) Unnumbered() bool { return !p.Address.IsValid() && p.Gateway == "" && p.Interface != "" }

// Selective tells whether only some nodes have the peer.
func (p *Peer) Selective() bool { return len(p.Nodes) > 0 || p.NodeSelector != "" }

// defaultName is where the router is, in a word.
func (p *Peer) defaultName() string {
	if p.Gateway != "" {
		return "gateway-" + p.Gateway
	}
	return cmp.Or(addrValue{&p.Address}.String(), p.Interface)
}

// brief is where the router is, and its AS.
func (p *Peer) brief() string {
	where := addrValue{&p.Address}.String()
	switch {
	case p.Gateway != "":
		where = p.Gateway + " gateway"
	case p.Unnumbered():
		where = "interface " + p.Interface
	}
	return fmt.Sprintf("%s AS %d", where, p.ASN)
}

// address has its zone, which interface may say.
func (p *Peer) address() netip.Addr {
	if a := p.Address; a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
		return a.WithZone(p.Interface)
	}
	return p.Address
}

// BGP is the peer as the speaker takes it. That of a gateway has no address yet.
func (p *Peer) BGP() bgp.Peer {
	out := bgp.Peer{
		Name: p.Name, Address: p.address(), Interface: p.Interface, ASN: p.ASN, LocalASN: p.LocalASN,
		LocalAddress: p.LocalAddress, LocalInterface: p.LocalInterface, Passive: p.Passive,
		Password: p.Password.Reveal(), HoldTime: p.HoldTime, KeepaliveTime: p.KeepaliveTime,
		ConnectRetry: p.ConnectRetry, MultihopTTL: p.MultihopTTL, TTLSecurity: p.TTLSecurity, NextHop4: p.NextHop4, NextHop6: p.NextHop6,
	}
	if !p.Passive {
		out.Port = p.Port
	}
	for _, f := range p.Families {
		out.Families = append(out.Families, bgp.Family(f))
	}
	if p.MaxPrefixes > 0 {
		out.MaxPrefixes, out.MaxPrefixesRestart = p.MaxPrefixes, p.MaxPrefixesRestart
	}
	if p.BFD {
		out.BFD = bgp.BFD{Enabled: true, Interval: p.BFDInterval, Multiplier: p.BFDMultiplier, Multihop: p.BFDMultihop}
	}
	return out
}
