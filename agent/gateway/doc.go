// Package gateway follows the gateways of this node's default routes: those of the main table
// with the lowest metric of their family, every next hop of a multipath one.
//
// The kernel is asked again when a message may be of a default route: one of a route to
// anything else costs nothing more than to be read, so that a node with many routes that come
// and go is not kept busy by them. A route that leaves with its link, or with its next hop
// object, has no message of its own in IPv4; links and next hops are followed for it.
package gateway
