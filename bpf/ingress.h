// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * ingress: a packet from an LB node. XDP and tc run the same; the entry file says
 * which, by the headers that it includes first.
 *
 *   outer headers -> source -> Geneve -> probe? -> inner packet -> pod -> flow ->
 *   deliver or bounce -> count
 *
 * What is not for the tunnel leaves as it came.
 */
#pragma once
#include "bounce.h"
#include "deliver.h"

static __always_inline enum verdict judge_outer(context *ctx, struct packet *p, struct request *r)
{
	__be16 proto = parse_l2(ctx, p);

	p->len = frame_len(ctx);
	if (proto != bpf_htons(ETH_P_IP) && proto != bpf_htons(ETH_P_IPV6))
		return VERDICT_PASS_NOT_IP;
	if (!parse_outer(ctx, p, r, proto) || is_group_frame(ctx) ||
	    !is_member(&p->tuple.dst, MEMBER_SELF))
		return VERDICT_PASS_NOT_VIP;
	if (!is_member(&p->tuple.src, MEMBER_LB))
		return VERDICT_DROP_TUNNEL_SOURCE;
	pull(ctx);
	if (parse_tunnel(ctx, r))
		return VERDICT_DROP_TUNNEL;
	if (r->flags == TUNNEL_PROBE)
		return answer_probe(ctx, r);
	return VERDICT_DELIVER;
}

static __always_inline enum verdict judge_inner(context *ctx, struct packet *p, struct request *r)
{
	if (parse_inner(ctx, p, r))
		return VERDICT_DROP_TUNNEL;
	/* The LB node may have heard of a pod before this one, or of its end after it. */
	if (!bpf_map_lookup_elem(&pods, &r->pod))
		return r->flags & TUNNEL_ACCEPT || is_new_syn(p) ? VERDICT_DROP_NOT_LOCAL
								 : VERDICT_BOUNCE;
	if (p->fragment == FRAGMENT_LATER && lookup_fragment(p))
		return r->flags & TUNNEL_ACCEPT ? VERDICT_DROP_FRAGMENT : VERDICT_BOUNCE;
	if (is_icmp(p) && p->fragment == FRAGMENT_NONE && is_icmp_error(p))
		return deliver_error(ctx, p, r);
	if (p->tuple.proto != IPPROTO_TCP && p->tuple.proto != IPPROTO_UDP)
		return VERDICT_DROP_PROTOCOL;
	return deliver(ctx, p, r);
}

static __always_inline int ingress(context *ctx)
{
	struct packet p = {};
	struct request r = {};
	enum verdict v = judge_outer(ctx, &p, &r);

	if (v == VERDICT_DELIVER) {
		v = judge_inner(ctx, &p, &r);
		if (v == VERDICT_BOUNCE)
			v = bounce(ctx, &r);
		p.len = r.len; /* as it came */
	}
	count_packet(v, p.len);
	switch (v) {
	case VERDICT_PASS_NOT_IP:
	case VERDICT_PASS_NOT_VIP:
	case VERDICT_DELIVER:
		return ACTION_NEXT;
	case VERDICT_BOUNCE:
	case VERDICT_PROBE_ANSWERED:
		return send_back(ctx);
	case VERDICT_ABORT:
		return ACTION_ABORT;
	default:
		return ACTION_DROP;
	}
}
