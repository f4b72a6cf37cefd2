// Package flowhash places a flow: the low bits of its hash are the row of a
// service's lookup table.
//
// The hash is a protocol between the nodes of a cluster, between versions of
// Penstock, and between this package and the C data path, which computes the
// same numbers. What follows is version 1; testdata/golden.tsv pins it.
//
// # Key
//
// The seed is 16 bytes, read as two little-endian 64-bit integers k0 and k1. It
// is the same on every node of a cluster and unknown to clients, so that nobody
// can aim flows at one backend.
//
// # Words
//
// A flow is a sequence of 64-bit words. Addresses and ports enter as the numbers
// that their network byte order spells. The last word holds the ports and the
// protocol:
//
//	IPv4: client << 32 | vip
//	      client port << 48 | vip port << 32 | protocol
//
//	IPv6: client, upper half
//	      client, lower half
//	      vip, upper half
//	      vip, lower half
//	      client port << 48 | vip port << 32 | protocol
//
// The affinity hash, which keeps all flows of a client's address together, is
// the same with a last word of 0. IPv4-mapped IPv6 addresses count as IPv4.
//
// # Mixing
//
// All arithmetic is modulo 2^64. The state starts as k0 and takes in the words
// in their order; the last one is joined by k1. The result is the upper half of
// the state:
//
//	mix(x): x ^= x >> 32
//	        x *= 0xd6e8feb86659fd93
//	        x ^= x >> 32
//	        x *= 0xd6e8feb86659fd93
//	        x ^= x >> 32
//
//	h = k0
//	for w in all words but the last: h = mix(h ^ w)
//	h = mix(h ^ w ^ k1), w being the last word
//	hash = h >> 32
//
// mix is a bijection with full avalanche: two flows of one client to one VIP
// have different states, and each input bit flips each output bit half of the
// time, which the tests measure. It needs nothing that BPF lacks: no 128-bit
// product, no loop over bytes; two multiplications a word. k1 shares the last
// mix because a third one would cost IPv4 half as much again and what it
// protects is never seen: clients learn which backend answered, not the hash.
//
// It is no cryptographic hash. It stands between clients and an uneven load, not
// between clients and a secret.
package flowhash
