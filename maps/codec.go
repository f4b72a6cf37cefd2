package maps

import (
	"bytes"
	"math/bits"
	"net/netip"
	"unsafe"

	"github.com/penstock-lb/penstock/bpf"
)

// All conversions between the kernel's layouts and ours stand in this file.

func (f Frontend) key() bpf.FrontendKey {
	return bpf.FrontendKey{Vip: bpf.AddrFrom(f.VIP), Port: bpf.Htons(f.Port), Proto: uint8(f.Proto)}
}

func frontendOf(k bpf.FrontendKey) Frontend {
	return Frontend{VIP: k.Vip.Netip(), Port: bpf.Htons(k.Port), Proto: Proto(k.Proto)}
}

// vipKey says that an address is a VIP.
func vipKey(vip netip.Addr) bpf.FrontendKey { return bpf.FrontendKey{Vip: bpf.AddrFrom(vip)} }

// isVIP tells a VIP's own entry from a frontend's.
func isVIP(k bpf.FrontendKey) bool { return k.Port == 0 && k.Proto == 0 }

func backendKey(addr netip.AddrPort, service uint32) bpf.BackendKey {
	return bpf.BackendKey{Addr: bpf.AddrFrom(addr.Addr()), Port: bpf.Htons(addr.Port()), Service: service}
}

func rawBackend(addr netip.AddrPort, service uint32, hop NextHop, tunnel uint16) bpf.Backend {
	b := bpf.Backend{
		Addr:    bpf.AddrFrom(addr.Addr()),
		Port:    bpf.Htons(addr.Port()),
		Service: service,
		Nexthop: rawNexthop(hop),
		Tunnel:  tunnel,
	}
	if hop.Source.IsValid() {
		b.Source = bpf.AddrFrom(hop.Source)
	}
	return b
}

func backendAddr(b bpf.Backend) netip.AddrPort {
	return netip.AddrPortFrom(b.Addr.Netip(), bpf.Htons(b.Port))
}

func rawNexthop(hop NextHop) bpf.Nexthop {
	return bpf.Nexthop{
		Ifindex: hop.Ifindex,
		Vlan:    hop.VLAN,
		Mtu:     hop.MTU,
		DstMac:  hop.DstMAC,
		SrcMac:  hop.SrcMAC,
	}
}

func nextHopOf(raw bpf.Nexthop, source bpf.Addr) NextHop {
	hop := NextHop{
		Ifindex: raw.Ifindex,
		VLAN:    raw.Vlan,
		MTU:     raw.Mtu,
		DstMAC:  raw.DstMac,
		SrcMAC:  raw.SrcMac,
	}
	if source != (bpf.Addr{}) {
		hop.Source = source.Netip()
	}
	return hop
}

// sourceKey is the entry of sources that serves the clients of a range.
func sourceKey(p netip.Prefix, service uint32) bpf.SourceKey {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return bpf.SourceKey{Prefixlen: uint32(bpf.SourceBits + bits), Service: service, Client: bpf.AddrFrom(p.Masked().Addr())}
}

func sourceOf(k bpf.SourceKey) netip.Prefix {
	bits, addr := int(k.Prefixlen)-bpf.SourceBits, netip.AddrFrom16(k.Client.Bytes)
	if addr.Is4In6() && bits >= 96 {
		return netip.PrefixFrom(addr.Unmap(), bits-96)
	}
	return netip.PrefixFrom(addr, bits)
}

func rawService(name string) (s bpf.Service) {
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&s.Name[0])), len(s.Name)-1), name)
	return s
}

func serviceName(s bpf.Service) string {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&s.Name[0])), len(s.Name))
	name, _, _ := bytes.Cut(b, []byte{0})
	return string(name)
}

// rawRegion is what regions has for a service whose table is in r.
func rawRegion(s Service, r region, usable, nat bool) (raw bpf.Region) {
	if r.rows != 0 {
		raw.Table = r.base + uint32(bits.TrailingZeros32(r.rows))
	}
	if usable {
		raw.Flags |= bpf.RegionUsable
	}
	if nat {
		raw.Flags |= bpf.RegionNAT
	}
	if s.Restricted {
		raw.Flags |= bpf.RegionSources
	}
	if s.Affinity == AffinityClientIP {
		raw.Flags |= bpf.RegionAffinity
	}
	return raw
}

// regionOf is false for what is no region.
func regionOf(raw bpf.Region) (region, bool) {
	order := raw.Table % bpf.RegionAlign
	r := region{base: raw.Table - order, rows: 1 << order}
	return r, r.rows >= bpf.RegionAlign && r.base%r.rows == 0
}

// isChained tells a row that names an element of chains from one that names a backend.
func isChained(row uint32) bool { return row&bpf.SlotChained != 0 && row != noOwner }

func affinity(f bpf.RegionFlags) Affinity {
	if f&bpf.RegionAffinity != 0 {
		return AffinityClientIP
	}
	return AffinityNone
}
