// Package probe finds out which ingress nodes take packets out of the tunnel, from
// this LB node, at the moment.
//
// # What is asked
//
// A probe is a tunnel packet without an inner one (PROBE in bpf/types.h). The program
// on the ingress node sends it back by itself, under the rules that hold for clients'
// packets: from a node that it knows, to an address that is its own. So an answer says
// that the node is up, that its program is attached, that it knows this LB node, and that
// the network carries our UDP port both ways. That its agent runs is not needed, and
// not asked.
//
// Probes have no UDP checksum, as the tunnel's packets have none. A network that drops
// such packets then drops both, and a checksum that a driver has yet to complete can't
// make the two differ.
//
// Each probe carries 16 random bytes. Only the very packet that belongs to an
// outstanding probe, from the address that was asked, is an answer.
//
// # What follows
//
// A node is dead after some probes in a row without an answer, and alive again after some
// with one. A node that dies again soon has to answer for twice as long as
// before, up to a minute: one that flaps stays away. A node that never answered is silent,
// which is another thing: nothing is known to run there. Where flows were sent to it before
// it is dead all the same, as after a restart of this process nothing else speaks of that.
//
// Where more nodes than a threshold are dead at once, the fault is rather here than
// there, and all count as alive: new flows have nowhere better to go.
package probe
