// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * icmp: pings of a VIP are answered here. An error about a packet of a flow goes
 * to that packet's sender, translated outside and in what it quotes, as RFC 5508
 * asks of a NAT, so that path MTU discovery and traceroute work both ways.
 */
#pragma once
#include "forward.h"
#include "fragment.h"
#include "frontend.h"
#include "reject.h"
#include "rewrite.h"

#define TCP_CHECKSUM 16 /* offset in the header; a quote may end behind it */
#define PORTS_LEN    8	/* what RFC 792 promises to be quoted after the IP header */

static __always_inline int is_echo_request(const struct packet *p)
{
	return p->family == 4 ? p->icmp_type == ICMP_ECHO_REQUEST
			      : p->icmp_type == ICMP6_ECHO_REQUEST;
}

static __always_inline int is_icmp_error(const struct packet *p)
{
	if (p->family == 6)
		return p->icmp_type >= ICMP6_UNREACHABLE && p->icmp_type <= ICMP6_PARAMETER_PROBLEM;
	return p->icmp_type == ICMP_UNREACHABLE || p->icmp_type == ICMP_TIME_EXCEEDED ||
	       p->icmp_type == ICMP_PARAMETER_PROBLEM;
}

/* Later fragments of an echo need their addresses swapped and nothing else. */
static __noinline enum verdict echo(struct xdp_md *ctx, struct packet *p)
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

/* What an ICMP error quotes: a packet that we sent, so its tuple is a flow's, reversed. */
struct quote {
	struct tuple tuple;
	__u16 l3;
	__u16 l4;
};

static __always_inline int parse_quote(struct xdp_md *ctx, const struct packet *p, struct quote *q)
{
	struct tuple *t = &q->tuple;
	__be16 *ports;

	q->l3 = p->l4 + sizeof(struct icmp_header);
	if (p->family == 4) {
		struct iphdr *ip = at(ctx, q->l3, sizeof(*ip));

		if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(IP_OFFSET))
			return -1;
		set_addr4(&t->dst, ip->saddr);
		set_addr4(&t->src, ip->daddr);
		t->proto = ip->protocol;
		q->l4 = q->l3 + ip->ihl * 4;
	} else {
		struct ipv6hdr *ip = at(ctx, q->l3, sizeof(*ip));

		if (!ip || ip->version != 6)
			return -1;
		set_addr6(&t->dst, &ip->saddr);
		set_addr6(&t->src, &ip->daddr);
		t->proto = ip->nexthdr;
		q->l4 = q->l3 + sizeof(*ip);
	}
	if (t->proto != IPPROTO_TCP && t->proto != IPPROTO_UDP)
		return -1;
	ports = at(ctx, q->l4, PORTS_LEN);
	if (!ports || q->l4 + PORTS_LEN > p->l3 + p->len)
		return -1;
	t->dport = ports[0];
	t->sport = ports[1];
	return 0;
}

/*
 * rewrite_quote restores the quoted packet and returns in diff what that does to
 * the ICMP checksum. A change of the IPv4 header cancels itself there, for its own
 * checksum changes by as much.
 */
static __always_inline int rewrite_quote(struct xdp_md *ctx, const struct packet *p,
					 const struct quote *q, const struct flow *f, __u64 *diff)
{
	__u64 addrs =
		csum_diff_addr(&q->tuple.dst, &f->dst) + csum_diff_addr(&q->tuple.src, &f->src);
	__u64 ports = csum_diff16(q->tuple.dport, f->dport) + csum_diff16(q->tuple.sport, f->sport);
	struct udphdr *udp = at(ctx, q->l4, sizeof(*udp));

	if (!udp)
		return -1;
	udp->source = f->dport;
	udp->dest = f->sport;
	*diff = ports;
	if (q->tuple.proto == IPPROTO_UDP) {
		__be16 old = udp->check;

		csum_apply_udp(&udp->check, addrs + ports);
		*diff += csum_diff16(old, udp->check);
	} else if (q->l4 + TCP_CHECKSUM + sizeof(__be16) <= p->l3 + p->len) {
		__be16 *check = at(ctx, q->l4 + TCP_CHECKSUM, sizeof(*check)), old;

		if (!check)
			return -1;
		old = *check;
		csum_apply(check, addrs + ports);
		*diff += csum_diff16(old, *check);
	}
	if (p->family == 4) {
		struct iphdr *ip = at(ctx, q->l3, sizeof(*ip));
		__be16 old;

		if (!ip)
			return -1;
		old = ip->check;
		ip->saddr = f->dst.words[3];
		ip->daddr = f->src.words[3];
		csum_apply(&ip->check, addrs);
		*diff += addrs + csum_diff16(old, ip->check);
	} else {
		struct ipv6hdr *ip = at(ctx, q->l3, sizeof(*ip));

		if (!ip)
			return -1;
		__builtin_memcpy(&ip->saddr, &f->dst, sizeof(f->dst));
		__builtin_memcpy(&ip->daddr, &f->src, sizeof(f->src));
		*diff += addrs;
	}
	return 0;
}

/* translate_error sends the error on to the sender of the packet that it quotes. */
static __noinline enum verdict translate_error(struct xdp_md *ctx, struct packet *p)
{
	struct quote q = {};
	struct icmp_header *icmp;
	struct flow *f;
	enum route r;
	__u64 diff;

	if (parse_quote(ctx, p, &q) || !same_addr(&q.tuple.dst, &p->tuple.dst))
		return VERDICT_DROP_ICMP;
	f = bpf_map_lookup_elem(&flows, &q.tuple);
	if (!f)
		return VERDICT_DROP_ICMP;
	if (!(f->flags & FLOW_REPLY) && !flow_backend(p, f, lookup_service(&q.tuple)))
		return VERDICT_DROP_ICMP; /* its address may be another pod's by now */
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

/* What is not for a VIP and not about a flow is the node's own business. */
static __noinline enum verdict icmp(struct xdp_md *ctx, struct packet *p)
{
	enum verdict v = VERDICT_DROP_ICMP;
	int for_vip = is_vip(&p->tuple.dst);

	if (p->fragment == FRAGMENT_LATER) /* only echoes are remembered */
		return for_vip ? echo(ctx, p) : VERDICT_PASS_NOT_VIP;
	if (is_echo_request(p) && for_vip)
		return echo(ctx, p);
	if (is_icmp_error(p) && p->fragment == FRAGMENT_NONE)
		v = translate_error(ctx, p);
	return v == VERDICT_DROP_ICMP && !for_vip ? VERDICT_PASS_NOT_VIP : v;
}
