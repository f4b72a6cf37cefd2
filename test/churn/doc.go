// Package churn holds thousands of flows through a site and counts those that break
// while a scenario changes LB nodes, pods and agents.
//
// # What is held
//
// One process in the client's namespace has all flows, from 508 addresses of two
// routed networks, half of them IPv6. A TCP flow asks its pod a question about once
// a second, a UDP flow as well. Each answer has to have the content that belongs to
// that question of that flow, the name of the same pod as ever, the number of the
// flow's questions that this pod has seen, which is its state, and the client's
// address and port as the pod sees them. Whatever else comes, or nothing within
// thirty seconds, is a break. A flow that ends is replaced, so that their number stays.
//
// # What counts
//
// A pod that terminates asks three of four flows to close, over the first six of its nine
// seconds, as servers do at the end of a request. The fourth stays until the pod is
// killed; that end is the pod's and not ours. Every other break is of a flow whose
// pod lived, which is what the first promise of the design is about.
//
// # Who is held against whom
//
// Each [Scenario] is played in each [Mode]: direct server return; the same without owner
// chains, which is hashing alone; NAT with its flow table on each LB node; and LB nodes with
// nftables and conntrack. The controls break flows in the scenarios that are made to
// break theirs, or a zero would mean nothing. Their LB nodes' routes come and go at once,
// without BGP.
//
// The site is that of package lab, with an FRR router. Its ECMP hashes addresses
// and ports alone, as a switch does, and gets a new seed where a scenario says rehash.
package churn
