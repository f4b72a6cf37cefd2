package bpf

import (
	"encoding/binary"
	"net/netip"
)

// The layouts of types.h, as bpf2go found them in the program's BTF.
type (
	Addr           = lbAddr
	Tuple          = lbTuple
	FrontendKey    = lbFrontendKey
	Frontend       = lbFrontend
	Region         = lbRegion
	SourceKey      = lbSourceKey
	Source         = lbSource
	SlotLine       = lbSlotLine
	Chain          = lbChain
	Rank           = lbRank
	Nexthop        = lbNexthop
	Backend        = lbBackend
	BackendKey     = lbBackendKey
	Tunnel         = lbTunnel
	Member         = lbMember
	LearnedOwner   = lbLearnedOwner
	BackendCounter = lbBackendCounter
	Service        = lbService
	Flow           = lbFlow
	Counter        = lbCounter
)

// RegionFlags as in enum region_flags.
type RegionFlags = lbRegionFlags

// What a service's lookup table can be.
const (
	RegionUsable   = lbRegionFlagsREGION_USABLE
	RegionAffinity = lbRegionFlagsREGION_AFFINITY
	RegionNAT      = lbRegionFlagsREGION_NAT
	RegionSources  = lbRegionFlagsREGION_SOURCES
)

// SourceBits is how many bits of a key of sources come before the client's: SOURCE_BITS
// in types.h.
const SourceBits = 32

// BackendLeaving, in a backend's Nexthop.Flags: BACKEND_LEAVING in types.h.
const BackendLeaving = uint16(1 << 0)

// TunnelFlags as in enum tunnel_flags.
type TunnelFlags = lbTunnelFlags

// What a tunnel can be.
const (
	TunnelUp   = lbTunnelFlagsTUNNEL_UP
	TunnelDead = lbTunnelFlagsTUNNEL_DEAD
)

// MemberFlags as in enum member_flags.
type MemberFlags = lbMemberFlags

// What an address can be to this node.
const (
	MemberSelf    = lbMemberFlagsMEMBER_SELF
	MemberLB      = lbMemberFlagsMEMBER_LB
	MemberBackend = lbMemberFlagsMEMBER_BACKEND
)

// SlotChained, in a row, says that it has a chain; the rest is its primary.
const SlotChained = 1 << 31

// ChainMax and RanksMax are how many owners an element of chains and of ranks has.
const (
	ChainMax = len(Chain{}.Owners)
	RanksMax = len(Rank{}.Owners)
)

// The learned filter: FILTER_ORDER, FILTER_GENERATIONS and FILTER_SHIFT in types.h.
const (
	FilterOrder       = 20 // log2 of a generation's bits
	FilterGenerations = 4
	FilterShift       = 8 // log2 of a generation's ticks
)

// RegionAlign is what a region's base is a multiple of, and so the least number of
// rows: REGION_ALIGN in types.h, where order has to fit below it.
const RegionAlign = 32

// SlotsPerLine is the number of rows in one element of slots.
const SlotsPerLine = uint32(len(SlotLine{}.Rows))

// TickShift turns nanoseconds of CLOCK_MONOTONIC into Flow.Seen's ticks of 1.07 s.
const TickShift = 30

// FlowStates is the number of values that Flow.State can have.
const FlowStates = int(lbFlowStateFLOW_STATES)

// The states of an open TCP flow and of one that both sides have closed, here and on
// ingress nodes.
const (
	FlowEstablished = uint8(lbFlowStateFLOW_ESTABLISHED)
	FlowClosing     = uint8(lbFlowStateFLOW_CLOSING)
)

// FlowFinBackend, in a flow's flags, says that the backend has sent its FIN.
const FlowFinBackend = uint8(lbFlowFlagsFLOW_FIN_BACKEND)

// AddrFrom maps IPv4 into IPv6, as the maps have it.
func AddrFrom(a netip.Addr) Addr { return Addr{Bytes: a.As16()} }

// Netip returns a plain IPv4 address where one is mapped.
func (a lbAddr) Netip() netip.Addr { return netip.AddrFrom16(a.Bytes).Unmap() }

// Htons turns a port around between the host's order and the maps', either way.
func Htons(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}
