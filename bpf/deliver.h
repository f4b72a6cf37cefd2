// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * deliver: the inner packet, addressed to the pod, takes the place of the outer one.
 * The stack then sees a packet from the client that came in by this device.
 */
#pragma once
#include "address.h"
#include "admit.h"
#include "ecn.h"
#include "fragment.h"

/* decapsulate is the last change: offsets are the outer packet's until then. */
static __noinline enum verdict decapsulate(context *ctx, const struct packet *p,
					   const struct request *r)
{
	__u32 l3 = r->inner;
	__be16 old, new;
	__u8 *bytes = (__u8 *)&new;
	int ecn, shift = p->family == 6 ? ECN6_SHIFT : 0;

	if (read_word(ctx, l3, &old))
		return VERDICT_ABORT;
	new = old;
	ecn = merge_ecn(r->ecn, bytes[1] >> shift & ECN_MASK);
	if (ecn < 0)
		return VERDICT_DROP_ECN;
	bytes[1] = (bytes[1] & ~(ECN_MASK << shift)) | ecn << shift;
	if (new != old) {
		if (put(ctx, l3, &new, sizeof(new)))
			return VERDICT_ABORT;
		if (p->family == 6)
			uncovered(ctx, csum_diff16(old, new));
		else if (fix_ip(ctx, l3 + IPV4_CHECKSUM, csum_diff16(old, new)))
			return VERDICT_ABORT;
	}
	return strip(ctx, r->l3, r->inner, r->family, p->family) ? VERDICT_ABORT : VERDICT_DELIVER;
}

static __noinline enum verdict deliver(context *ctx, struct packet *p, const struct request *r)
{
	struct place where = {};
	enum verdict v = admit(ctx, p, r, &where);

	if (v != VERDICT_DELIVER)
		return v;
	remember_fragment(p);
	return readdress(ctx, p, &where.key) ? VERDICT_ABORT : decapsulate(ctx, p, r);
}

/* An error about what the pod sent: it quotes a packet from the VIP to the client. */
static __noinline enum verdict deliver_error(context *ctx, struct packet *p,
					     const struct request *r)
{
	struct place where = {};
	struct quote q = {};
	__u64 diff;

	if (parse_quote(ctx, p, &q) || !same_addr(&q.tuple.dst, &p->tuple.dst))
		return VERDICT_DROP_ICMP;
	find_flow(&q.tuple, &r->pod, r->port, &where);
	if (!where.flow)
		return r->flags & TUNNEL_ACCEPT ? VERDICT_DROP_UNKNOWN_FLOW : VERDICT_BOUNCE;
	turn(&q.tuple);
	turn(&where.key);
	if (readdress_quote(ctx, p, &q, &where.key, &diff) ||
	    readdress_error(ctx, p, &p->tuple.src, &r->pod, diff))
		return VERDICT_ABORT;
	return decapsulate(ctx, p, r);
}
