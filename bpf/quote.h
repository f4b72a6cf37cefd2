// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* quote: the packet that an ICMP error is about, as far as the error shows it. */
#pragma once
#include "checksum.h"
#include "parse.h"

#define TCP_CHECKSUM 16 /* offset in the header; a quote may end behind it */
#define PORTS_LEN    8	/* what RFC 792 promises to be quoted after the IP header */

static __always_inline int is_icmp_error(const struct packet *p)
{
	if (p->family == 6)
		return p->icmp_type >= ICMP6_UNREACHABLE && p->icmp_type <= ICMP6_PARAMETER_PROBLEM;
	return p->icmp_type == ICMP_UNREACHABLE || p->icmp_type == ICMP_TIME_EXCEEDED ||
	       p->icmp_type == ICMP_PARAMETER_PROBLEM;
}

/* What an ICMP error quotes: a packet that we sent, so its tuple is a flow's, reversed. */
struct quote {
	struct tuple tuple;
	__u16 l3;
	__u16 l4;
};

static __always_inline int parse_quote(context *ctx, const struct packet *p, struct quote *q)
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
static __always_inline int rewrite_quote(context *ctx, const struct packet *p,
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
