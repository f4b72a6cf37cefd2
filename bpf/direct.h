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
	struct backend_counter *c = bpf_map_lookup_elem(&backend_counters, &p->backend);

	if (!c)
		return;
	c->packets++;
	c->bytes += p->len;
	c->flows += new_flow;
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
 * place chooses the backend of a packet without a flow here. VERDICT_ENCAP: through a
 * tunnel to p->backend; VERDICT_FORWARD: it is to be translated.
 */
static __noinline enum verdict place(context *ctx, struct packet *p, __u32 service)
{
	struct region region = lookup_region(service);
	const struct backend *b;

	if (!(region.flags & REGION_USABLE))
		return reject_unreachable(ctx, p, VERDICT_REJECT_NO_BACKEND,
					  VERDICT_DROP_NO_BACKEND);
	if (!is_client(p))
		return VERDICT_DROP_SOURCE;
	b = select_backend(p, &p->tuple, service, region);
	if (!b)
		return VERDICT_DROP_TABLE;
	return b->tunnel ? VERDICT_ENCAP : VERDICT_FORWARD;
}
