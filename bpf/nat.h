// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * nat: requests to the backend, answers back to the client. All that can be
 * refused is refused before the first byte is written.
 */
#pragma once
#include "direct.h"
#include "forward.h"
#include "fragment.h"
#include "frontend.h"
#include "port.h"
#include "reject.h"
#include "rewrite.h"
#include "source.h"
#include "tunnel.h"

/*
 * is_tunnel_end: what we translate to there has our address, and nodes would take it for
 * a tunnel packet of ours. Whoever may list endpoints could be any client to any pod.
 */
static __always_inline int is_tunnel_end(const struct backend *b, __u8 proto)
{
	return proto == IPPROTO_UDP && b->port == tunnel_port &&
	       is_member(&b->addr, MEMBER_SELF | MEMBER_LB | MEMBER_BACKEND);
}

/* open_flow starts a translated flow to p->backend. */
static __always_inline enum verdict open_flow(struct packet *p, struct flow *f)
{
	const struct tuple t = p->tuple;
	const struct backend *b = backend_at(p->backend);

	if (!b)
		return VERDICT_DROP_TABLE;
	if (p->fragment == FRAGMENT_LATER) /* the first one went elsewhere */
		return VERDICT_DROP_FRAGMENT;
	if (is_vip(&p->tuple.src))
		return VERDICT_DROP_SOURCE;
	if (is_tunnel_end(b, p->tuple.proto))
		return VERDICT_DROP_TUNNEL;
	if (!b->source.halves[0] && !b->source.halves[1]) /* no route to it so far */
		return VERDICT_DROP_NO_ROUTE;
	return create_flow(p, &t, b, f);
}

/* send rewrites the packet and sends it; verdict is what that counts as if we send it. */
static __always_inline enum verdict send(context *ctx, struct packet *p, const struct flow *f,
					 enum verdict verdict)
{
	switch (route(ctx, p, &f->src, &f->dst)) {
	case ROUTE_NONE:
		return VERDICT_DROP_NO_ROUTE;
	case ROUTE_TOO_BIG:
		return reject_too_big(ctx, p, p->hop.mtu, &p->tuple.dst);
	case ROUTE_KERNEL:
		return rewrite(ctx, p, f, 0) ? VERDICT_ABORT : verdict + 1; /* its _KERNEL */
	default:
		return rewrite(ctx, p, f, 1) || transmit(ctx, p) ? VERDICT_ABORT : verdict;
	}
}

/* in_reply_ports spares the node's own packets a lookup among the flows. */
static __always_inline int in_reply_ports(__be16 port)
{
	__u32 zero = 0;
	struct port_range *r = bpf_map_lookup_elem(&reply_ports, &zero);

	return r && bpf_ntohs(port) >= r->first && bpf_ntohs(port) <= r->last;
}

/* reply takes an answer back to the client, or leaves alone what is none. */
__noinline enum verdict reply(context *ctx, struct packet *p)
{
	struct flow *f, copy;
	struct tuple t;

	if (!p || !in_reply_ports(p->tuple.dport))
		return VERDICT_PASS_NOT_VIP;
	t = p->tuple;
	f = lookup_flow(p, &t);
	if (!f || !(f->flags & FLOW_REPLY))
		return VERDICT_PASS_NOT_VIP;
	if (p->ttl <= 1)
		return reject_ttl(ctx, p, &p->tuple.dst);
	copy = *f;
	remember_fragment(p);
	return send(ctx, p, &copy, VERDICT_REPLY);
}

/* pass_on translates a packet to its flow's backend, p->backend. */
static __always_inline enum verdict pass_on(context *ctx, struct packet *p, const struct flow *f,
					    int new_flow)
{
	struct backend *b = backend_at(p->backend);

	if (!b)
		return VERDICT_DROP_TABLE;
	if (p->ttl <= 1)
		return reject_ttl(ctx, p, &f->src);
	remember_fragment(p);
	count_backend(p, new_flow);
	p->hop = b->nexthop;
	return send(ctx, p, f, VERDICT_FORWARD);
}

/* begin translates the first packet of a flow to p->backend. */
__noinline enum verdict begin(context *ctx, struct packet *p)
{
	enum verdict v;
	struct flow f;

	if (!p)
		return VERDICT_ABORT;
	v = open_flow(p, &f);
	return v == VERDICT_FORWARD ? pass_on(ctx, p, &f, 1) : v;
}

/* resume translates a packet of a flow that there is. VERDICT_ENCAP: there is none. */
__noinline enum verdict resume(context *ctx, struct packet *p, __u32 service)
{
	struct flow *known, f;
	struct tuple t;

	if (!p)
		return VERDICT_ABORT;
	t = p->tuple;
	known = lookup_flow(p, &t);
	if (!known)
		return VERDICT_ENCAP;
	if (known->flags & FLOW_REPLY) /* the VIP is an address of the node's */
		return VERDICT_PASS_NOT_VIP;
	if (!flow_backend(p, known, service)) {
		delete_flow(&t, known);
		return VERDICT_ENCAP;
	}
	f = *known;
	return pass_on(ctx, p, &f, 0);
}

/*
 * serve takes a request to its service. Where some of the flows are translated, a
 * flow's entry comes before the row.
 */
static __always_inline enum verdict serve(context *ctx, struct packet *p, __u32 service)
{
	struct region region = lookup_region(service);
	enum verdict v;

	if (is_excluded(region, service, &p->tuple.src))
		return VERDICT_DROP_SOURCE_RANGE;
	if (region.flags & REGION_NAT && !p->bounced) {
		v = resume(ctx, p, service);
		if (v != VERDICT_ENCAP)
			return v;
	}
	v = direct(ctx, p, service, region.table, region.flags);
	return v == VERDICT_FORWARD ? begin(ctx, p) : v;
}
