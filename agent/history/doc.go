// Package history remembers what the objects do not tell of endpoints, and what
// owner chains need to know of them (package maps/chain): since when they have been
// there, since when they have taken new flows, and the weights and table sizes
// that there were before.
//
// Times that the objects tell are taken as they are, since every LB node has the
// same ones, but for two cases in which this node knows better. An endpoint that was
// seen to take no new flows has taken them at the earliest since it was last seen
// so: it may have been its node that did not answer, of which its pod knows nothing.
// The same holds of one that a service that is known did not have: a pod may have been
// ready for long when it gets the label that makes it an endpoint. And one that was seen to take flows has lost them at the earliest then.
//
// # Where the objects say nothing
//
// An endpoint that is new takes flows from now on. It can have had some, by other
// LB nodes, since the last time at which the endpoints were other ones than the
// time before: until then they were as this node knew them, after that its source
// may have been cut off from the news. In the very first look nothing is known of
// before, which makes all chains as long as they can be, for the retention.
// A table that has grown had the sizes that follow from when its pods were born.
//
// An endpoint that goes is remembered for the retention. If it comes back it is the
// one that it was, which is safe if it is another of that address too.
//
// # The file
//
// What is remembered is written to a file and read again at the start, so that a
// restart changes nothing. A file that is missing or damaged is a first look. What
// happened between the last look before a restart and the first one after it is
// known from the objects alone: an endpoint that lost and regained its readiness in
// that time, and has no Pod object, seems never to have lost it. Nor does a node
// know in its very first look of a pod that became an endpoint long after it was
// ready.
//
// Times are this node's clock's. If that is set back, what it said of later times
// counts as now.
package history
