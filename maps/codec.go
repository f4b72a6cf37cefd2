package maps

import (
	"bytes"
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

func rawBackend(addr netip.AddrPort, service uint32, hop NextHop) bpf.Backend {
	b := bpf.Backend{
		Addr:    bpf.AddrFrom(addr.Addr()),
		Port:    bpf.Htons(addr.Port()),
		Service: service,
		Nexthop: bpf.Nexthop{
			Ifindex: hop.Ifindex,
			Vlan:    hop.VLAN,
			Mtu:     hop.MTU,
			DstMac:  hop.DstMAC,
			SrcMac:  hop.SrcMAC,
		},
	}
	if hop.Source.IsValid() {
		b.Source = bpf.AddrFrom(hop.Source)
	}
	return b
}

func backendAddr(b bpf.Backend) netip.AddrPort {
	return netip.AddrPortFrom(b.Addr.Netip(), bpf.Htons(b.Port))
}

func nextHopOf(b bpf.Backend) NextHop {
	hop := NextHop{
		Ifindex: b.Nexthop.Ifindex,
		VLAN:    b.Nexthop.Vlan,
		MTU:     b.Nexthop.Mtu,
		DstMAC:  b.Nexthop.DstMac,
		SrcMAC:  b.Nexthop.SrcMac,
	}
	if b.Source != (bpf.Addr{}) {
		hop.Source = b.Source.Netip()
	}
	return hop
}

func rawService(name string, rows uint32, flags bpf.FrontendFlags) bpf.Service {
	s := bpf.Service{Rows: rows, Flags: flags}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&s.Name[0])), len(s.Name)-1), name)
	return s
}

func serviceName(s bpf.Service) string {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&s.Name[0])), len(s.Name))
	name, _, _ := bytes.Cut(b, []byte{0})
	return string(name)
}

func flags(s Service, usable bool) bpf.FrontendFlags {
	var f bpf.FrontendFlags
	if !usable {
		f |= bpf.FrontendEmpty
	}
	if s.Affinity == AffinityClientIP {
		f |= bpf.FrontendAffinity
	}
	return f
}

func affinity(f bpf.FrontendFlags) Affinity {
	if f&bpf.FrontendAffinity != 0 {
		return AffinityClientIP
	}
	return AffinityNone
}
