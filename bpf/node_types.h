// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What only the programs of ingress nodes share with Go, in the orders of types.h.
 */
#pragma once
#include "types.h"

/* pods: the addresses on this ingress node that flows may be delivered to. */
struct pod {
	__s32 netns; /* ID of its network namespace, POD_NETNS_OWN or POD_NETNS_UNKNOWN */
	__u32 pad;
};

enum pod_netns {
	POD_NETNS_OWN = -1, /* the node's (hostNetwork) */
	POD_NETNS_UNKNOWN = -2,
};

/*
 * node_flows and young_flows: a flow on its ingress node, by the tuple that the pod
 * sees. Young are those that no answer from the client has confirmed, or that are
 * about to end: only they can be evicted.
 */
struct node_flow {
	struct addr vip;
	__be16 vport;
	__be16 cport;	/* the client's own, where the pod sees another (see collisions) */
	__u8 state;	/* enum flow_state */
	__u8 flags;	/* enum flow_flags */
	__u16 overhead; /* bytes that the tunnel adds to the packet */
	__u32 ack;	/* in FLOW_NEW: the number that completes the handshake */
	__u32 seen;	/* tick of the last packet */
};

/* collisions: a flow whose tuple on the pod's side was another's -> its port there. */
struct collision_key {
	struct tuple tuple; /* client to VIP */
	struct addr pod;
	__be16 port;
	__u8 pad[6];
};

struct collision {
	__be16 sport;
	__u16 pad;
};

/* node_settings: what the agent may change while the programs run. */
struct settings {
	__u32 mtu; /* bytes of IP packet from an LB node to here, tunnel included; 0: do not clamp
		    */
	__u32 pad;
};
