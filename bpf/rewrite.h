// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * rewrite: the packet becomes what its flow says. From here on the packet is not
 * the client's any more, so an error can only end in ABORT, never in PASS.
 */
#pragma once
#include "checksum.h"
#include "packet.h"

/* hops is 1, or 0 where the kernel forwards the packet and takes one off itself. */
static __always_inline int rewrite_ip(context *ctx, const struct packet *p, const struct flow *f,
				      __u8 hops)
{
	if (p->family == 4) {
		struct iphdr *ip = at(ctx, p->l3, sizeof(*ip));
		__u64 diff;

		if (!ip)
			return -1;
		diff = csum_diff_addr(&p->tuple.src, &f->src) +
		       csum_diff_addr(&p->tuple.dst, &f->dst) +
		       csum_diff16(bpf_htons(ip->ttl << 8), bpf_htons((ip->ttl - hops) << 8));
		ip->saddr = f->src.words[3];
		ip->daddr = f->dst.words[3];
		ip->ttl -= hops;
		csum_apply(&ip->check, diff);
	} else {
		struct ipv6hdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return -1;
		__builtin_memcpy(&ip->saddr, &f->src, sizeof(f->src));
		__builtin_memcpy(&ip->daddr, &f->dst, sizeof(f->dst));
		ip->hop_limit -= hops;
	}
	return 0;
}

static __always_inline int rewrite_l4(context *ctx, const struct packet *p, const struct flow *f)
{
	__u64 diff = csum_diff_addr(&p->tuple.src, &f->src) +
		     csum_diff_addr(&p->tuple.dst, &f->dst) +
		     csum_diff16(p->tuple.sport, f->sport) + csum_diff16(p->tuple.dport, f->dport);

	if (p->tuple.proto == IPPROTO_TCP) {
		struct tcphdr *tcp = at(ctx, p->l4, sizeof(*tcp));

		if (!tcp)
			return -1;
		tcp->source = f->sport;
		tcp->dest = f->dport;
		csum_apply(&tcp->check, diff);
	} else {
		struct udphdr *udp = at(ctx, p->l4, sizeof(*udp));

		if (!udp)
			return -1;
		udp->source = f->sport;
		udp->dest = f->dport;
		csum_apply_udp(&udp->check, diff);
	}
	return 0;
}

static __always_inline int rewrite(context *ctx, const struct packet *p, const struct flow *f,
				   __u8 hops)
{
	if (rewrite_ip(ctx, p, f, hops))
		return -1;
	return p->fragment == FRAGMENT_LATER ? 0 : rewrite_l4(ctx, p, f);
}
