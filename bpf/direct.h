// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * direct: the way of flows whose backend answers the client itself. Nothing is
 * remembered about them here, but of the few that were displaced.
 */
#pragma once
#include "encap.h"
#include "fragment.h"
#include "frontend.h"
#include "reject.h"

static __always_inline void count_backend(const struct packet *p, int new_flow)
{
	__u32 key = p->backend;
	struct backend_counter *c = bpf_map_lookup_elem(&backend_counters, &key);

	if (!c)
		return;
	c->packets++;
	c->bytes += p->len;
	if (new_flow)
		c->flows++;
}

/*
 * A client is neither a VIP (two services could answer each other for ever) nor no
 * host. TCP does not answer an answer, so that for it the cheap half is enough.
 */
static __always_inline int is_client(const struct packet *p)
{
	return unicast(p, &p->tuple.src) &&
	       (p->tuple.proto == IPPROTO_TCP || !is_vip(&p->tuple.src));
}

/*
 * place chooses the backend of a packet without a flow here, NULL: v says why there is
 * none. While none is usable the flows that there are go on, and no new one begins.
 */
static __always_inline struct backend *place(context *ctx, struct packet *p, __u32 service,
					     struct region region, enum verdict *v)
{
	int usable = region.flags & REGION_USABLE;
	struct backend *b = NULL;

	*v = VERDICT_DROP_SOURCE;
	if (usable && !is_client(p))
		return NULL;
	*v = VERDICT_DROP_TABLE;
	if (usable || (region.table && !is_new_syn(p)))
		b = select_backend(p, &p->tuple, service, region);
	if (!usable && (!b || !b->tunnel || (p->accept && p->bounced))) {
		*v = reject_unreachable(ctx, p, VERDICT_REJECT_NO_BACKEND, VERDICT_DROP_NO_BACKEND);
		return NULL;
	}
	p->accept &= !!usable;
	return b;
}

/*
 * direct sends a packet to the node of its backend. VERDICT_FORWARD: the backend,
 * p->backend, is one whose packets are translated.
 */
static __noinline enum verdict direct(context *ctx, struct packet *p, __u32 service, __u32 table,
				      enum region_flags flags)
{
	struct region region = {.table = table, .flags = flags};
	const struct backend *b;
	enum verdict v;
	__u32 tunnel;

	b = place(ctx, p, service, region, &v);
	if (!b)
		return v;
	tunnel = tunnel_index(b);
	if (!tunnel)
		return VERDICT_FORWARD;
	remember_fragment(p);
	count_backend(p, is_new_syn(p));
	return encap(ctx, p, b, tunnel);
}
