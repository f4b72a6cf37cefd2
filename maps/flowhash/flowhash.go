package flowhash

import (
	"encoding/binary"
	"net/netip"
)

// multiplier is odd, so that multiplying by it loses nothing.
const multiplier = 0xd6e8feb86659fd93

// FlowHash hashes the packets of one flow, those of client to vip, to one
// number. proto is the IP protocol.
func FlowHash(seed [16]byte, client, vip netip.AddrPort, proto uint8) uint32 {
	ports := uint64(client.Port())<<48 | uint64(vip.Port())<<32 | uint64(proto)
	return hash(seed, client.Addr(), vip.Addr(), ports)
}

// AffinityHash hashes all flows of one client's address to one VIP to one
// number.
func AffinityHash(seed [16]byte, client, vip netip.Addr) uint32 {
	return hash(seed, client, vip, 0)
}

func hash(seed [16]byte, client, vip netip.Addr, last uint64) uint32 {
	h := binary.LittleEndian.Uint64(seed[:8])
	k1 := binary.LittleEndian.Uint64(seed[8:])
	client, vip = client.Unmap(), vip.Unmap()
	if client.Is4() && vip.Is4() {
		c, v := client.As4(), vip.As4()
		h = mix(h ^ (uint64(binary.BigEndian.Uint32(c[:]))<<32 | uint64(binary.BigEndian.Uint32(v[:]))))
	} else {
		c, v := client.As16(), vip.As16()
		h = mix(h ^ binary.BigEndian.Uint64(c[:8]))
		h = mix(h ^ binary.BigEndian.Uint64(c[8:]))
		h = mix(h ^ binary.BigEndian.Uint64(v[:8]))
		h = mix(h ^ binary.BigEndian.Uint64(v[8:]))
	}
	return uint32(mix(h^last^k1) >> 32)
}

func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= multiplier
	x ^= x >> 32
	x *= multiplier
	return x ^ x>>32
}
