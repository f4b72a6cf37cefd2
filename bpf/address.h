// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * address: a packet of a flow gets the other side's addresses and ports, in its
 * headers and, where it is an ICMP error, in the packet that it quotes. The entry file
 * includes edit_xdp.h or edit_tc.h first.
 */
#pragma once
#include "quote.h"

#define UDP_CHECKSUM  6
#define ICMP_CHECKSUM 2
#define IPV4_SOURCE   12
#define IPV4_CHECKSUM 10
#define IPV6_SOURCE   8

static __always_inline __u64 diff_addrs(const struct tuple *from, const struct addr *src,
					const struct addr *dst)
{
	return csum_diff_addr(&from->src, src) + csum_diff_addr(&from->dst, dst);
}

static __always_inline __u64 diff_ports(const struct tuple *from, const struct tuple *to)
{
	return csum_diff16(from->sport, to->sport) + csum_diff16(from->dport, to->dport);
}

/* turn makes it the tuple of the other direction. */
static __always_inline void turn(struct tuple *t)
{
	struct addr a = t->src;
	__be16 port = t->sport;

	t->src = t->dst;
	t->dst = a;
	t->sport = t->dport;
	t->dport = port;
}

/* put_addrs writes both addresses of the IP header at l3. */
static __always_inline int put_addrs(context *ctx, __u8 family, __u32 l3, const struct addr *src,
				     const struct addr *dst, __u64 diff)
{
	if (family == 6)
		return put(ctx, l3 + IPV6_SOURCE, src, sizeof(*src)) ||
		       put(ctx, l3 + IPV6_SOURCE + sizeof(*src), dst, sizeof(*dst));
	return put(ctx, l3 + IPV4_SOURCE, &src->words[3], sizeof(__be32)) ||
	       put(ctx, l3 + IPV4_SOURCE + sizeof(__be32), &dst->words[3], sizeof(__be32)) ||
	       fix_ip(ctx, l3 + IPV4_CHECKSUM, diff);
}

static __always_inline int put_ports(context *ctx, __u32 l4, const struct tuple *to)
{
	return put(ctx, l4, &to->sport, sizeof(to->sport)) ||
	       put(ctx, l4 + sizeof(to->sport), &to->dport, sizeof(to->dport));
}

/* readdress makes the packet one of tuple to. */
static __noinline int readdress(context *ctx, const struct packet *p, const struct tuple *to)
{
	__u64 addrs = diff_addrs(&p->tuple, &to->src, &to->dst), ports = diff_ports(&p->tuple, to);
	int udp = p->tuple.proto == IPPROTO_UDP;
	__u32 check = p->l4 + (udp ? UDP_CHECKSUM : TCP_CHECKSUM);

	if (put_addrs(ctx, p->family, p->l3, &to->src, &to->dst, addrs))
		return -1;
	if (p->family == 6) /* fix_l4 takes it for an IPv4 one, whose header sums up to the same */
		uncovered(ctx, addrs);
	if (p->fragment == FRAGMENT_LATER)
		return 0;
	if (udp) {
		__be16 *sum = at(ctx, check, sizeof(*sum));

		if (!sum)
			return -1;
		if (!*sum)
			uncovered(ctx, ports);
	}
	return put_ports(ctx, p->l4, to) || fix_l4(ctx, check, addrs, ports, p->tuple.proto);
}

/*
 * readdress_quote makes the quoted packet one of tuple to, where q->tuple and to are in
 * the quoted packet's direction. diff becomes what that adds to the ICMP message.
 */
static __noinline int readdress_quote(context *ctx, const struct packet *p, const struct quote *q,
				      const struct tuple *to, __u64 *diff)
{
	__u64 addrs = diff_addrs(&q->tuple, &to->src, &to->dst), ports = diff_ports(&q->tuple, to),
	      l4 = addrs + ports;
	int udp = q->tuple.proto == IPPROTO_UDP;
	__u32 check = q->l4 + (udp ? UDP_CHECKSUM : TCP_CHECKSUM);
	__be16 *sum, old, new;

	*diff = ports;
	if (check + sizeof(*sum) <= p->l3 + p->len) {
		sum = at(ctx, check, sizeof(*sum));
		if (!sum)
			return -1;
		old = new = *sum;
		if (udp)
			csum_apply_udp(&new, l4);
		else
			csum_apply(&new, l4);
		if (put(ctx, check, &new, sizeof(new)))
			return -1;
		*diff += csum_diff16(old, new);
	}
	if (put_ports(ctx, q->l4, to))
		return -1;
	if (p->family == 6) {
		*diff += addrs;
		return put_addrs(ctx, 6, q->l3, &to->src, &to->dst, 0);
	}
	/* The header's checksum changes by as much as its addresses do. */
	return put_addrs(ctx, 4, q->l3, &to->src, &to->dst, addrs);
}

/* readdress_error gives an ICMP error its addresses; diff is what its quote adds to the sum. */
static __always_inline int readdress_error(context *ctx, const struct packet *p,
					   const struct addr *src, const struct addr *dst,
					   __u64 diff)
{
	__u64 addrs = diff_addrs(&p->tuple, src, dst);

	if (put_addrs(ctx, p->family, p->l3, src, dst, addrs))
		return -1;
	if (p->family == 6)
		uncovered(ctx, addrs);
	else
		addrs = 0; /* no pseudo-header in ICMP's checksum */
	return fix_l4(ctx, p->l4 + ICMP_CHECKSUM, addrs, diff, IPPROTO_ICMP);
}
