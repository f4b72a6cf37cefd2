// Package nexthop finds out how packets leave this node towards pods, and notices when that changes,
// so that the data path needs to ask no routing table per packet.
//
// # What a next hop is made of
//
// Three kernel tables, each read over netlink in the namespace of the process:
//
//   - the route to the address, with its policy rules, gives the device, the gateway, the MTU and the
//     node's own address on that way;
//   - the device gives the sender's MAC; a VLAN device gives its lower device and its ID as well;
//   - the neighbour table gives the MAC of the gateway, or of the address itself where it is on link.
//
// A pod of this node is no exception: its veth is a device with the pod as an on-link neighbour.
//
// What can't be spoken to by writing an Ethernet header stays without a device in
// [github.com/penstock-lb/penstock/maps.NextHop], and the data path leaves it to the kernel: tunnels
// and other devices without Ethernet, bridges and the like that cannot send a frame handed to them by XDP,
// encapsulating routes, addresses of the node itself, stacked VLANs.
//
// # Work in proportion to the change
//
// A route is looked up once per address. A route event costs one more lookup for the addresses inside its
// prefix, a link going down for those behind it. Neighbours and links are kept as tables of their own
// and joined with the routes without asking the kernel: a gateway that changes its MAC costs no lookup,
// however many pods are behind it. Events are gathered for a moment, and [Resolver.Changed] signals only
// if a result is another one than before.
//
// # Neighbours stay fresh
//
// XDP's packets are no use of a neighbour in the eyes of the kernel: it would neither resolve nor confirm
// them. So the resolver asks for both (NTF_USE): at once for a neighbour that it needs for the first
// time, then every few seconds for those that are unresolved or stale, at a bounded rate.
package nexthop
