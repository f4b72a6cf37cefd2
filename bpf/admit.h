// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * admit: packets of no flow that we know. Either the pod's socket knows it, or it
 * begins one, or another ingress node may know it, so that it goes back to the LB node.
 */
#pragma once
#include "tunnel_in.h"
#include "witness.h"

#define PORT_PROBES 16
#define PORT_LOWEST 1024

static __always_inline void flow_of(struct node_flow *f, const struct packet *p,
				    const struct request *r, enum flow_state state)
{
	__builtin_memset(f, 0, sizeof(*f));
	f->vip = p->tuple.dst;
	f->vport = p->tuple.dport;
	f->cport = p->tuple.sport;
	f->state = state;
	f->overhead = r->inner - r->l3;
	f->seen = now_tick();
}

/* is_free says whether neither a flow nor a socket of the pod has this tuple. */
static __always_inline int is_free(context *ctx, struct place *where)
{
	lookup_place(where);
	if (where->flow && !idle(where->flow))
		return 0;
	return where->key.proto != IPPROTO_TCP || !is_held(lookup_socket(ctx, &where->key, NULL));
}

/*
 * find_port gives a flow whose tuple is another's a client port of its own. The pod
 * sees that port, and the client never does.
 */
static __noinline int find_port(context *ctx, const struct packet *p, struct place *where)
{
	struct collision_key key;
	struct collision c = {};

	for (int i = 0; i < PORT_PROBES; i++) {
		__u32 port = PORT_LOWEST +
			     (bpf_get_prandom_u32() & 0xffff) * (0x10000 - PORT_LOWEST) / 0x10000;

		where->key.sport = bpf_htons(port);
		if (!is_free(ctx, where))
			continue;
		c.sport = where->key.sport;
		collision_key_of(&key, &p->tuple, where);
		if (bpf_map_update_elem(&collisions, &key, &c, BPF_ANY))
			return -1;
		count_event(EVENT_COLLISION);
		return 0;
	}
	return -1;
}

/* open_flow makes the flow, in place of one that is over. */
static __noinline enum verdict open_flow(context *ctx, const struct packet *p,
					 const struct request *r, struct place *where,
					 enum flow_state state)
{
	struct node_flow f;

	/* A socket that recall did not take is another connection's. */
	if (!where->taken && p->tuple.proto == IPPROTO_TCP)
		where->taken = is_held(lookup_socket(ctx, &where->key, NULL));
	if (where->taken && find_port(ctx, p, where))
		return VERDICT_DROP_COLLISION;
	flow_of(&f, p, r, state);
	bpf_map_delete_elem(&node_flows, &where->key);
	if (bpf_map_update_elem(&young_flows, &where->key, &f, BPF_ANY))
		return VERDICT_DROP_FLOW_TABLE;
	return VERDICT_DELIVER;
}

/* recall makes the flow again whose socket the pod still has. */
static __noinline int recall(context *ctx, const struct packet *p, const struct request *r,
			     struct place *where)
{
	int state = lookup_socket(ctx, &where->key, p);
	struct node_flow f;

	if (!is_connected(state))
		return 0;
	flow_of(&f, p, r, state == BPF_TCP_TIME_WAIT ? FLOW_CLOSING : FLOW_ESTABLISHED);
	if (f.state == FLOW_CLOSING)
		f.flags = FLOW_FINS;
	if (bpf_map_update_elem(&young_flows, &where->key, &f, BPF_ANY))
		return 0;
	if (f.state == FLOW_ESTABLISHED)
		settle(&where->key, &f);
	count_event(EVENT_WITNESS);
	return 1;
}

/*
 * is_known says whether the packet is its flow's. In a handshake only the ACK of our
 * pod's SYN is: the SYN may have been said again after it went to another pod, whose
 * SYN-ACK the client then took.
 */
static __always_inline int is_known(const struct packet *p, const struct place *where)
{
	const struct node_flow *f = where->flow;

	return f && (f->state != FLOW_NEW || p->fragment == FRAGMENT_LATER ||
		     p->tcp_flags & TCP_SYN || completes(p, f));
}

/*
 * is_over says whether a flow that was about to end has ended, so that the packet is of
 * the tuple's next one: the client has used its port again, and the SYN went to another
 * pod. What nobody else knows comes once more with ACCEPT.
 */
static __always_inline int is_over(context *ctx, const struct packet *p, const struct request *r,
				   struct place *where)
{
	return where->flow->state == FLOW_CLOSING && !(r->flags & TUNNEL_ACCEPT) &&
	       !(p->tcp_flags & TCP_SYN) && p->fragment == FRAGMENT_NONE &&
	       has_witness(&where->key) && !is_connected(lookup_socket(ctx, &where->key, p));
}

/*
 * is_forged says whether the packet is a RST that the pod's connection will not take, so
 * that it ends nothing. Where the pod has no connection any more, the flow is to end.
 */
static __always_inline int is_forged(context *ctx, const struct packet *p, struct place *where)
{
	return p->tcp_flags & TCP_RST && where->flow->state == FLOW_ESTABLISHED &&
	       is_connected(lookup_socket(ctx, &where->key, NULL)) &&
	       !is_connected(lookup_socket(ctx, &where->key, p));
}

/* admit returns DELIVER if the packet goes to the pod as where->key says. */
static __always_inline enum verdict admit(context *ctx, const struct packet *p,
					  const struct request *r, struct place *where)
{
	int accept = r->flags & TUNNEL_ACCEPT;

	find_flow(&p->tuple, &r->pod, r->port, where);
	if (is_known(p, where)) {
		if (is_over(ctx, p, r, where))
			return VERDICT_BOUNCE;
		if (is_forged(ctx, p, where))
			return VERDICT_DELIVER;
		if (is_new_syn(p))
			where->flow->overhead = r->inner - r->l3;
		track_client(p, where, now_tick());
		return VERDICT_DELIVER;
	}
	if (p->fragment == FRAGMENT_LATER)
		return accept ? VERDICT_DROP_FRAGMENT : VERDICT_BOUNCE;
	if (is_new_syn(p))
		return open_flow(ctx, p, r, where, FLOW_NEW);
	if (p->tuple.proto == IPPROTO_TCP && !where->taken && recall(ctx, p, r, where))
		return VERDICT_DELIVER;
	if (!accept)
		return VERDICT_BOUNCE;
	if (where->flow) /* in a handshake; the pod will say what it thinks of this */
		return VERDICT_DELIVER;
	return open_flow(ctx, p, r, where, p->tuple.proto == IPPROTO_UDP ? FLOW_UDP : FLOW_CLOSED);
}
