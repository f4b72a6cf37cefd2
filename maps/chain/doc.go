// Package chain says where the flows of a row can live: on its primary, which
// takes the new ones, and on the endpoints that were primaries before.
//
// # The rule
//
// A flow is opened on the endpoint that ranks first in its row among the eligible
// ones. When others rank first later, it stays where it is. So at any time it
// lives on an endpoint that topped the row's ranking at some time, and which ones
// can have done that follows from two times of each endpoint: BornAt, the
// earliest at which it can have owned flows, and EligibleSince. The row's ranking
// (package rendezvous) is walked from the top with a guard, the least
// EligibleSince of the eligible endpoints passed: since then no flow was opened
// further down. An endpoint is in the chain if
//
//	BornAt < guard + slack
//
// and the walk stops where the guard is older than the retention. The first
// eligible endpoint is the primary. An endpoint that is not eligible, as it
// drains or is not ready, has no guard and can be in the chain: its flows go on.
// Removed endpoints do not matter, as the ranks of the others do not depend on
// them.
//
// The result follows from the endpoints and the time alone. Every node that knows
// them has the same chains, also one that started a moment ago; nothing is
// synchronised. When everything is older than the retention, each chain is the
// primary alone.
//
// # What the times have to be
//
// BornAt may be too early, which makes chains longer, never too late. The nearer
// it is to the first moment of readiness the better: endpoints that were born
// before the others became ready keep none of each other out, so that those of
// one batch are all in each other's chains. The start of the oldest running
// container is later than the pod's creation and as safe, for the flows of an
// earlier one died with it. A node that starts does not know since when an
// endpoint without such a time has been there: it leaves BornAt and LostAt zero.
//
// The slack is for nodes that see a change at different times. It covers a
// difference as large as itself if the times come from the API, and half of that
// if each node notes the time at which it saw the change. What no slack covers is
// an endpoint that one node has not heard of yet, and the moment in which a node
// takes a row's owner for eligible that no longer is: its chain ends there, and
// the extra ranks, owners for packets that came back from the whole chain, help.
//
// # Weights
//
// The rank depends on the weight. An endpoint whose weight changed takes part
// once with each weight it had within the retention. With a former one it owned
// flows but takes no new ones; it guards there only if its weight was never less
// since. Rejected: forgetting former weights and relying on the extra ranks,
// which in the simulation do not find one in twenty of the displaced flows, and
// the others by a detour for each packet; units of weight as endpoints of their
// own, which cost a pass over the rows each and need the same times.
//
// # Sizes
//
// The low bits of a flow's hash are its row, and rows do not depend on each
// other. So if a table grows from n to 2n rows, the flows of the upper half were
// in the row n below; if it shrinks, those of a row were there or n above. A
// table is told its former sizes and when they ended, and adds the chains of
// those rows in the former ranking to its own, taking from each in turn. Rejected:
//
//   - Never to shrink within the retention and nothing else: growing displaces
//     as many flows.
//   - A size with hysteresis: it depends on what a node has seen, so nodes that
//     started at different times would disagree for good. The size has to be a
//     function of the endpoints that there are.
//   - To derive former sizes from BornAt: removed endpoints are not known.
//   - Rankings that do not change with the size: rows that rank alike share the
//     load no better than one row.
//
// A node needs to be told former weights and sizes, as it is told the endpoints;
// without former sizes three of four flows that a change of size displaced are
// not found. Sizes that hardly ever change are better than any of this.
//
// # The cut
//
// A chain is cut to its longest length, and the primary stays. Off go those that had
// the least time to own flows: from when they were born until the first that ranks
// higher became eligible for good. First of all that are the ones which only the
// slack has put there, in a burst most of a chain. 15 owners lose nothing in rolling
// updates, scaling and bursts, though such chains would be up to 30 long. Rejected:
// lowest ranks first, which took the oldest owner out of one row in two thousand where
// 3 endpoints became 30 within 15 seconds, for the sake of some that had never owned it.
//
// # Cost
//
// A record that a chain keeps out keeps out nothing that the one that keeps it
// out does not. So a change matters only to rows where its endpoint is in the
// chain, comes into it, or is among the extra ranks, which takes one draw and a
// few comparisons per row to find out; all others stay untouched. A row takes four
// bytes, four for each extra rank and four for its tail, which exists only
// in rows with a chain.
package chain
