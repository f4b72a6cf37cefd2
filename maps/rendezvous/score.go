package rendezvous

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"sync"
)

const (
	mixMultiplier = 0xd6e8feb86659fd93
	rowMultiplier = 0x9e3779b97f4a7c15

	octaveBits = 12 // log2 of the points that the logarithm is tabulated at in an octave
	pointBits  = 40 // fractional bits of a point
	costBits   = 57 // fractional bits of a cost
	restBits   = 63 - octaveBits
)

func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= mixMultiplier
	x ^= x >> 32
	x *= mixMultiplier
	return x ^ x>>32
}

// identity hashes what an endpoint is, apart from any row.
func identity(seed [16]byte, id netip.AddrPort) uint64 {
	a := id.Addr().As16()
	h := mix(binary.LittleEndian.Uint64(seed[:8]) ^ binary.BigEndian.Uint64(a[:8]))
	h = mix(h ^ binary.BigEndian.Uint64(a[8:]))
	return mix(h ^ binary.LittleEndian.Uint64(seed[8:]) ^ uint64(id.Port()))
}

// contender is an endpoint in a row.
type contender struct {
	u      uint64
	weight uint32
	slot   uint32
}

// compareCosts is negative if a is the cheaper one in relation to its weight.
func compareCosts(a, b contender) int {
	aHi, aLo := bits.Mul64(cost(a.u), uint64(b.weight))
	bHi, bLo := bits.Mul64(cost(b.u), uint64(a.weight))
	switch {
	case aHi < bHi || aHi == bHi && aLo < bLo:
		return -1
	case aHi == bHi && aLo == bLo:
		return 0
	}
	return 1
}

// cost is about -log2(u/2^64) in units of 2^-costBits. It is never 0.
func cost(u uint64) uint64 {
	if u == 0 {
		return 64 << costBits
	}
	zeros := bits.LeadingZeros64(u)
	fraction := u << zeros << 1 >> 1
	i, rest := fraction>>restBits, fraction&(1<<restBits-1)
	points := logarithms()
	// The product has up to 80 bits. Its upper word is taken, with the factors
	// moved up so that what is cut off are restBits + pointBits - costBits bits.
	part, _ := bits.Mul64((points[i+1]-points[i])<<(costBits-pointBits), rest<<(64-restBits))
	log := uint64(63-zeros)<<costBits + points[i]<<(costBits-pointBits) + part
	return 64<<costBits - log
}

// logarithms are floor(log2(1 + i/4096) * 2^40).
var logarithms = sync.OnceValue(func() *[1<<octaveBits + 1]uint64 {
	var points [1<<octaveBits + 1]uint64
	for i := range 1 << octaveBits {
		points[i] = logarithm(1<<63 | uint64(i)<<restBits)
	}
	points[1<<octaveBits] = 1 << pointBits
	return &points
})

// logarithm is floor(log2(m/2^63) * 2^pointBits) for m of at least 2^63. Squaring
// m doubles its logarithm, whose next bit is 1 if m reaches 2. Rounding errs by
// some 2^-62, and none of the tabulated points lies that close to a step.
func logarithm(m uint64) (log uint64) {
	for range pointBits {
		hi, lo := bits.Mul64(m, m)
		log <<= 1
		if hi>>63 == 1 {
			log |= 1
			m = hi
		} else {
			m = hi<<1 | lo>>63
		}
	}
	return log
}
