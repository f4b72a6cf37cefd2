// Package lab is a whole site in network namespaces, as an operator would build
// it: a client, a ToR router (FRR), LB nodes each with its own agent process, and
// ingress nodes with nginx as the L7 tier. Everything is IPv4 and IPv6.
//
//	client ── router ─┬─ lb1, lb2 …      agent, XDP, BGP
//	                  └─ node1, node2 …  nginx
//
// LB nodes have one arm: requests come from the router and leave to it.
package lab
