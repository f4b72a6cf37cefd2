//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * lb: the load balancer's program. It reads in the order of the packet:
 *
 *   parse -> fragment -> icmp -> frontend -> flow or slot -> backend -> route ->
 *   rewrite -> transmit -> count
 *
 * A packet that is not for a VIP leaves as it came.
 */
#include "xdp.h"

#include "maps.h"

#include "icmp.h"
#include "nat.h"
#include "verdict.h"

static __always_inline enum verdict run(context *ctx, struct packet *p)
{
	enum verdict v = VERDICT_PASS_NOT_VIP;
	__u32 service;

	if (parse(ctx, p)) {
		p->len = frame_len(ctx);
		return VERDICT_PASS_NOT_IP;
	}
	if (is_group_frame(ctx))
		return VERDICT_PASS_NOT_VIP;
	if (p->malformed)
		return is_vip(&p->tuple.dst) ? VERDICT_DROP_MALFORMED : VERDICT_PASS_NOT_VIP;
	if (p->fragment == FRAGMENT_LATER && lookup_fragment(p))
		return is_vip(&p->tuple.dst) ? VERDICT_DROP_FRAGMENT : VERDICT_PASS_NOT_VIP;
	if (is_icmp(p))
		return icmp(ctx, p);
	if (p->tuple.proto != IPPROTO_TCP && p->tuple.proto != IPPROTO_UDP)
		return is_vip(&p->tuple.dst) ? VERDICT_DROP_PROTOCOL : VERDICT_PASS_NOT_VIP;
	service = lookup_service(&p->tuple);
	if (service)
		v = forward(ctx, p, service);
	if (v == VERDICT_PASS_NOT_VIP)
		v = reply(ctx, p);
	if (service || v != VERDICT_PASS_NOT_VIP || !is_vip(&p->tuple.dst))
		return v;
	return reject_unreachable(ctx, p, VERDICT_REJECT_PORT, VERDICT_DROP_PORT);
}

SEC("xdp.frags")
int lb(struct xdp_md *ctx)
{
	struct packet p = {.len = ctx->data_end - ctx->data};

	return count(&p, run(ctx, &p));
}

char _license[] SEC("license") = "Dual BSD/GPL";
