//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * lb: the load balancer's program. It reads in the order of the packet:
 *
 *   parse -> own tunnel -> fragment -> icmp -> frontend -> source -> flow or slot -> backend ->
 *   route -> encapsulate or rewrite -> transmit -> count
 *
 * A packet that is not for a VIP leaves as it came. Functions that are not static are
 * verified each on its own, as they would be too much for the verifier together. It
 * then wants to see that they can take a NULL, and on kernel 6.1 that no part of what
 * they are given is the key of a map.
 */
#include "xdp.h"

#include "maps.h"

#include "icmp.h"
#include "nat.h"
#include "tunnel.h"
#include "verdict.h"

static __always_inline enum verdict run_icmp(context *ctx, struct packet *p)
{
	enum verdict v = p->bounced ? VERDICT_ENCAP : icmp(ctx, p);

	if (v != VERDICT_ENCAP)
		return v;
	v = place_error(ctx, p);
	if (v == VERDICT_ENCAP)
		v = encap_chosen(ctx, p);
	return v == VERDICT_ENCAP ? VERDICT_ICMP_FORWARD : v;
}

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
	if (is_own_tunnel(p)) {
		v = unwrap(ctx, p);
		if (v != VERDICT_ENCAP_NEXT)
			return v;
	}
	if (p->fragment == FRAGMENT_LATER && lookup_fragment(p))
		return is_vip(&p->tuple.dst) ? VERDICT_DROP_FRAGMENT : VERDICT_PASS_NOT_VIP;
	if (is_icmp(p))
		return run_icmp(ctx, p);
	if (p->tuple.proto != IPPROTO_TCP && p->tuple.proto != IPPROTO_UDP)
		return is_vip(&p->tuple.dst) ? VERDICT_DROP_PROTOCOL : VERDICT_PASS_NOT_VIP;
	service = lookup_service(&p->tuple);
	if (service)
		v = serve(ctx, p, service);
	else if (p->bounced)
		return VERDICT_DROP_TUNNEL;
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
	enum verdict v = run(ctx, &p);

	/* What a tunnel brought is no packet that the kernel may see, nor reply to. */
	if (p.bounced && v <= VERDICT_PASS_NOT_VIP)
		v = VERDICT_DROP_TUNNEL;
	return count(&p, v);
}

char _license[] SEC("license") = "Dual BSD/GPL";
