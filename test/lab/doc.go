// Package lab is a whole site in network namespaces, as an operator would build
// it: a client, a ToR router (FRR), LB nodes each with its own agent process, and
// ingress nodes: some with nginx as the L7 tier on the node's own address and no
// agent, others with an agent and pods. Everything is IPv4 and IPv6.
//
//	client ── router ─┬─ lb1, lb2 …      agent, XDP, BGP
//	                  ├─ node1, node2 …  nginx
//	                  └─ ingress1 …      agent of role backend, pods behind veth
//
// LB nodes have one arm: requests come from the router and leave to it.
package lab
