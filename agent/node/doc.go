// Package node is the agent of an ingress node (role backend). It has no part in what LB
// nodes decide: it tells its programs who may send tunnel packets and which pods are here,
// keeps them attached to the uplinks, and frees the flows that are over.
//
// The order at the start is: load the programs, open the maps, write the tables, attach. What
// a pass cannot do costs only itself and is tried again with a growing delay; until the source
// has synced once nothing is written, so that a restarted agent leaves in force what it finds.
//
// However the agent ends, programs and tables stay pinned and go on forwarding, with
// `shutdown: drain` too: Kubernetes drains pods, LB nodes see that in the objects, and a flow
// that goes on needs its reply to be turned around here until its very end. What removes them
// is `penstock cleanup`.
package node
