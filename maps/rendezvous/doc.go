// Package rendezvous fills the lookup tables: which endpoint of a service owns
// which row.
//
// Each row ranks all endpoints by a score of its own and belongs to the first
// (weighted highest random weight). An endpoint that comes or goes moves the rows
// that it wins or held and no other, and the table depends on the set of
// endpoints alone: every node of a cluster computes the same one, whatever
// happened before. A Maglev table of the same size was rejected because it moves
// rows between endpoints that stay.
//
// # The row function
//
// It is a protocol between the nodes of a cluster and between versions of
// Penstock. What follows is version 1; testdata/golden.json pins it. All
// arithmetic is on integers, so that every architecture computes the same bits;
// that of the hashes is modulo 2^64.
//
// The seed is 16 bytes, read as two little-endian 64-bit integers k0 and k1. An
// endpoint's identity is its address as 16 bytes (IPv4 as IPv4-mapped IPv6), read
// as two big-endian 64-bit integers hi and lo, and its port. With the function mix
// of package flowhash:
//
//	identity = mix(mix(mix(k0 ^ hi) ^ lo) ^ k1 ^ port)
//	u(row)   = mix(identity + row * 0x9e3779b97f4a7c15)
//
// u/2^64 is uniform between 0 and 1, so -log2(u/2^64)/weight is exponential with
// a rate proportional to the weight, and the smallest of several such numbers is
// each one's with a probability proportional to its weight. In integers, with
// cost(u) about -log2(u/2^64) * 2^57, endpoint a ranks before b if
//
//	cost(ua) * weight(b) < cost(ub) * weight(a)
//
// in full 96-bit products; if those are equal, if ua > ub; if these are equal
// too, if a's address, then port, is the smaller. Weight 0 is not ranked.
//
// # The logarithm
//
// With e the position of u's highest set bit and f the 63 bits that follow it
// (zeros appended), i the first 12 bits of f and rest the other 51:
//
//	T[i]    = floor(log2(1 + i/4096) * 2^40), for i from 0 to 4096
//	log2(u) = e * 2^57 + T[i] * 2^17 + floor((T[i+1] - T[i]) * rest / 2^34)
//	cost(u) = 64 * 2^57 - log2(u), and cost(0) = cost(1)
//
// That is linear between 4,096 points in each octave, which makes cost monotone:
// a greater u never costs more. Its relative error is below 2^-13, also for u
// near 2^64 where the winners are, a hundredth of the randomness of a row's
// owner in the largest table.
//
// # Equal weights
//
// Between equal weights w, cost(ua)*w < cost(ub)*w is cost(ua) < cost(ub). If
// ua > ub then cost(ua) <= cost(ub), because cost is monotone, so a ranks first
// either by its cost or, costs being equal, by the next rule, ua > ub. Comparing u
// is therefore the whole comparison, and no logarithm is taken. For the same
// reason the greater u wins outright where its weight is no smaller. Endpoints are
// visited by falling weight, so nearly all of them are dismissed by one
// comparison of u, weights or not.
package rendezvous
