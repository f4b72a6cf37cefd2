// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * icmp: pings of a VIP are answered here. An error about a packet of a flow goes
 * to that packet's sender, translated outside and in what it quotes, as RFC 5508
 * asks of a NAT, so that path MTU discovery and traceroute work both ways; in a
 * tunnel it goes untranslated.
 */
#pragma once
#include "flow.h"
#include "forward.h"
#include "fragment.h"
#include "frontend.h"
#include "quote.h"
#include "reject.h"
#include "rewrite.h"
#include "source.h"

static __always_inline int is_echo_request(const struct packet *p)
{
	return p->family == 4 ? p->icmp_type == ICMP_ECHO_REQUEST
			      : p->icmp_type == ICMP6_ECHO_REQUEST;
}

/* Later fragments of an echo need their addresses swapped and nothing else. */
static __noinline enum verdict echo(context *ctx, struct packet *p)
{
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));
	__u8 mac[ETH_ALEN];

	if (!eth)
		return VERDICT_ABORT;
	if (!unicast(p, &p->tuple.src))
		return VERDICT_DROP_SOURCE;
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	if (p->family == 4) {
		struct iphdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return VERDICT_ABORT;
		ip->saddr = p->tuple.dst.words[3];
		ip->daddr = p->tuple.src.words[3];
		csum_apply(&ip->check,
			   csum_diff16(bpf_htons(ip->ttl << 8), bpf_htons(ERROR_TTL << 8)));
		ip->ttl = ERROR_TTL;
	} else {
		struct ipv6hdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return VERDICT_ABORT;
		__builtin_memcpy(&ip->saddr, &p->tuple.dst, sizeof(p->tuple.dst));
		__builtin_memcpy(&ip->daddr, &p->tuple.src, sizeof(p->tuple.src));
		ip->hop_limit = ERROR_TTL;
	}
	if (p->fragment != FRAGMENT_LATER) {
		struct icmp_header *icmp = at(ctx, p->l4, sizeof(*icmp));
		__u8 type = p->family == 4 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY;

		if (!icmp)
			return VERDICT_ABORT;
		csum_apply(&icmp->checksum,
			   csum_diff16(bpf_htons(icmp->type << 8), bpf_htons(type << 8)));
		icmp->type = type;
		remember_fragment(p);
	}
	return VERDICT_ICMP_ECHO;
}

/* translate_error sends the error on to the sender of the packet that it quotes. */
static __noinline enum verdict translate_error(context *ctx, struct packet *p)
{
	struct quote q = {};
	struct icmp_header *icmp;
	struct flow *f;
	enum route r;
	__u32 service;
	__u64 diff;

	if (parse_quote(ctx, p, &q) || !same_addr(&q.tuple.dst, &p->tuple.dst))
		return VERDICT_DROP_ICMP;
	f = bpf_map_lookup_elem(&flows, &q.tuple);
	if (!f)
		return VERDICT_DROP_ICMP;
	if (!(f->flags & FLOW_REPLY)) {
		service = lookup_service(&q.tuple);
		if (!flow_backend(p, f, service))
			return VERDICT_DROP_ICMP; /* its address may be another pod's by now */
		if (is_excluded(lookup_region(service), service, &q.tuple.src))
			return VERDICT_DROP_SOURCE_RANGE;
	}
	if (p->ttl <= 1)
		return VERDICT_DROP_ICMP; /* no errors about errors */
	r = route(ctx, p, &f->src, &f->dst);
	if (r == ROUTE_NONE || r == ROUTE_TOO_BIG)
		return VERDICT_DROP_NO_ROUTE;
	if (rewrite_quote(ctx, p, &q, f, &diff) || rewrite_ip(ctx, p, f, r != ROUTE_KERNEL))
		return VERDICT_ABORT;
	icmp = at(ctx, p->l4, sizeof(*icmp));
	if (!icmp)
		return VERDICT_ABORT;
	if (p->family == 6) /* its checksum covers the outer addresses too */
		diff += csum_diff_addr(&p->tuple.src, &f->src) +
			csum_diff_addr(&p->tuple.dst, &f->dst);
	csum_apply(&icmp->checksum, diff);
	if (r == ROUTE_KERNEL)
		p->action = XDP_PASS;
	else if (transmit(ctx, p))
		return VERDICT_ABORT;
	return f->flags & FLOW_REPLY ? VERDICT_ICMP_REPLY : VERDICT_ICMP_FORWARD;
}

/*
 * What is not for a VIP and not about a flow is the node's own business. VERDICT_ENCAP:
 * an error for a VIP that is about no translated flow.
 */
__noinline enum verdict icmp(context *ctx, struct packet *p)
{
	enum verdict v = VERDICT_DROP_ICMP;
	int for_vip;

	if (!p)
		return VERDICT_ABORT;
	for_vip = is_vip(&p->tuple.dst);
	if (p->fragment == FRAGMENT_LATER) /* only echoes are remembered */
		return for_vip ? echo(ctx, p) : VERDICT_PASS_NOT_VIP;
	if (is_echo_request(p) && for_vip)
		return echo(ctx, p);
	if (!is_icmp_error(p) || p->fragment != FRAGMENT_NONE)
		return for_vip ? VERDICT_DROP_ICMP : VERDICT_PASS_NOT_VIP;
	v = translate_error(ctx, p);
	if (v == VERDICT_DROP_ICMP)
		return for_vip ? VERDICT_ENCAP : VERDICT_PASS_NOT_VIP;
	return v;
}

/* place_error chooses the backend of the flow that the error is about. */
__noinline enum verdict place_error(context *ctx, struct packet *p)
{
	const struct backend *b;
	struct region region;
	struct quote q = {};
	__u32 service;

	if (!p)
		return VERDICT_ABORT;
	if (!is_icmp_error(p) || p->fragment != FRAGMENT_NONE || parse_quote(ctx, p, &q) ||
	    !same_addr(&q.tuple.dst, &p->tuple.dst))
		return VERDICT_DROP_ICMP;
	service = lookup_service(&q.tuple);
	region = lookup_region(service);
	if (is_excluded(region, service, &q.tuple.src))
		return VERDICT_DROP_SOURCE_RANGE;
	if (!region.table)
		return VERDICT_DROP_ICMP;
	b = select_backend(p, &q.tuple, service, region);
	return b && b->tunnel ? VERDICT_ENCAP : VERDICT_DROP_ICMP;
}
