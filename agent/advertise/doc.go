// Package advertise decides what routers are told of a VIP: which of them, with which attributes,
// and whether under a shorter prefix. It is pure.
//
// A [Policy] is an ordered list of entries, each of which selects Services and VIPs, and is for some
// peers or for all. What a peer is told of a VIP is what the first entry says that selects the VIP
// and is for the peer; what no entry is for, it is not told. Without any entry everybody is told
// everything, without attributes. What a Service says itself ([Overrides]) counts before the entry.
//
// An entry may have VIPs told as part of an [Aggregate], beside their own prefixes or in place of
// them. An aggregate belongs to all VIPs in it, so that no single Service says anything about it but
// whom it is told on its behalf: its attributes are the entry's, and of several entries the first
// one's that a peer is told by. Whether it is announced is for those to say who know which of its
// members are.
package advertise
