// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * node_flow: the flows of this node's pods, by the tuple that the pod sees. There are
 * two tables. A flow begins among the young ones, the oldest of which make room for
 * new ones; it moves to node_flows, where nothing is ever evicted, when its client has
 * answered the pod, which a forged address can't; and back when it is about to end. So
 * a flood of SYNs costs no flow that is established.
 */
#pragma once
#include "node_maps.h"
#include "packet.h"
#include "tick.h"

/* A SYN came for an established flow: the pod's SYN-ACK would be our flow's. */
#define FLOW_SYN_AGAIN (1 << 7)

#define FLOW_FINS (FLOW_FIN_CLIENT | FLOW_FIN_BACKEND)

/* Where a packet's flow is, or would be. */
struct place {
	struct tuple key; /* client to pod */
	struct node_flow *flow;
	__u8 young;
	__u8 taken; /* by a flow through another VIP, or by one that got another port */
};

/* idle: no packet for longer than the flow's state allows. Go's sweep removes such flows. */
static __always_inline int idle(const struct node_flow *f)
{
	__u32 state = f->state;

	return state >= FLOW_STATES || (__s32)(now_tick() - f->seen) > (__s32)timeouts[state];
}

static __always_inline void lookup_place(struct place *where)
{
	where->young = 0;
	where->flow = bpf_map_lookup_elem(&node_flows, &where->key);
	if (where->flow)
		return;
	where->young = 1;
	where->flow = bpf_map_lookup_elem(&young_flows, &where->key);
}

/* is_flow_of says whether the flow is that of tuple t, from a client to a VIP. */
static __always_inline int is_flow_of(const struct node_flow *f, const struct tuple *t)
{
	return same_addr(&f->vip, &t->dst) && f->vport == t->dport && f->cport == t->sport;
}

static __always_inline void collision_key_of(struct collision_key *key, const struct tuple *t,
					     const struct place *where)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->tuple = *t;
	__builtin_memset(key->tuple.pad, 0, sizeof(key->tuple.pad));
	key->pod = where->key.dst;
	key->port = where->key.dport;
}

/* other_place looks where the flow is if its own tuple was another's when it began. */
static __noinline void other_place(const struct tuple *t, struct place *where)
{
	struct collision_key key;
	struct collision *c;

	where->taken = where->flow && !idle(where->flow);
	collision_key_of(&key, t, where);
	c = bpf_map_lookup_elem(&collisions, &key);
	if (!c) {
		where->flow = NULL;
		return;
	}
	where->key.sport = c->sport;
	lookup_place(where);
	if (where->flow && is_flow_of(where->flow, t)) {
		where->taken = 0;
		return;
	}
	where->taken = where->flow && !idle(where->flow);
	where->flow = NULL;
}

/*
 * find_flow looks for the flow of t, from a client to a VIP, on the pod and port. Where
 * there is none, at says where it would be.
 */
static __noinline void find_flow(const struct tuple *t, const struct addr *pod, __be16 port,
				 struct place *where)
{
	where->key.src = t->src;
	where->key.dst = *pod;
	where->key.sport = t->sport;
	where->key.dport = port;
	where->key.proto = t->proto;
	where->taken = 0;
	__builtin_memset(where->key.pad, 0, sizeof(where->key.pad));
	lookup_place(where);
	if (!where->flow || !is_flow_of(where->flow, t))
		other_place(t, where);
}

/* settle moves a flow to where it is not evicted. */
static __noinline void settle(const struct tuple *key, const struct node_flow *f)
{
	if (bpf_map_update_elem(&node_flows, key, f, BPF_ANY)) {
		count_event(EVENT_FULL);
		return;
	}
	bpf_map_delete_elem(&young_flows, key);
}

/* unsettle moves a flow that is about to end out of the way of those that live. */
static __noinline void unsettle(const struct tuple *key, const struct node_flow *f)
{
	if (!bpf_map_update_elem(&young_flows, key, f, BPF_ANY))
		bpf_map_delete_elem(&node_flows, key);
}

/* completes says whether the packet is the handshake's ACK, or one after it. */
static __always_inline int completes(const struct packet *p, const struct node_flow *f)
{
	return f->flags & FLOW_ANSWERED && p->tcp_flags & TCP_ACK && p->fragment == FRAGMENT_NONE &&
	       p->tcp_ack == f->ack;
}

/*
 * move_to_state is for changes. Its argument may be a value that settle and unsettle
 * then remove, so nobody may look at it afterwards.
 */
static __noinline void move_to_state(struct place *where, enum flow_state state, __u8 flags)
{
	struct node_flow *f = where->flow;

	if (!f)
		return;
	f->state = state;
	f->flags = flags;
	if (state == FLOW_ESTABLISHED && where->young)
		settle(&where->key, f);
	else if (state != FLOW_ESTABLISHED && !where->young)
		unsettle(&where->key, f);
}

/*
 * track_client follows what the client sends. A new SYN begins a flow anew whose end
 * was near; an established one only its pod can end. Where a client goes on after a
 * RST, the RST was forged.
 */
static __noinline void track_client(const struct packet *p, struct place *where, __u32 now)
{
	struct node_flow *f = where->flow;
	__u8 state, flags;
	int fresh;

	if (!f)
		return;
	fresh = f->seen != now;
	if (fresh)
		f->seen = now;
	state = f->state;
	flags = f->flags;
	if (state == FLOW_UDP) {
		if (where->young && flags & FLOW_ANSWERED)
			settle(&where->key, f);
		return;
	}
	if (p->fragment == FRAGMENT_LATER)
		return;
	if (p->tcp_flags & TCP_RST) {
		state = FLOW_CLOSING;
	} else if (p->tcp_flags & TCP_SYN) {
		if (state == FLOW_CLOSING || state == FLOW_CLOSED) {
			state = FLOW_NEW;
			flags = 0;
		} else if (state == FLOW_ESTABLISHED) {
			flags |= FLOW_SYN_AGAIN;
		}
	} else {
		if (state == FLOW_NEW && completes(p, f))
			state = FLOW_ESTABLISHED;
		else if (state == FLOW_CLOSING && (flags & FLOW_FINS) != FLOW_FINS)
			state = FLOW_ESTABLISHED;
		if (p->tcp_flags & TCP_FIN)
			flags |= FLOW_FIN_CLIENT;
		if (state == FLOW_ESTABLISHED && (flags & FLOW_FINS) == FLOW_FINS)
			state = FLOW_CLOSING;
	}
	/* One that stayed young because node_flows was full tries again every tick. */
	if (state != f->state || flags != f->flags ||
	    (fresh && where->young && state == FLOW_ESTABLISHED))
		move_to_state(where, state, flags);
}
