// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * bounce: what goes back to the LB node. The packet as it came, with its outer
 * addresses and MACs swapped and the option's flags changed: a sum does not mind the
 * order of its parts.
 */
#pragma once
#include "address.h"
#include "tunnel_in.h"

#define IPV4_TTL       8
#define IPV6_HOP_LIMIT 7

static __always_inline int swap_macs(context *ctx)
{
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));
	__u8 macs[2 * ETH_ALEN];

	if (!eth)
		return -1;
	__builtin_memcpy(macs, eth->h_source, ETH_ALEN);
	__builtin_memcpy(macs + ETH_ALEN, eth->h_dest, ETH_ALEN);
	return put(ctx, 0, macs, sizeof(macs));
}

static __always_inline int swap_addrs(context *ctx, const struct request *r)
{
	const __u8 ttl = TUNNEL_TTL;
	__be16 old, new;

	if (r->family == 4) {
		struct iphdr *ip = at(ctx, r->l3, sizeof(*ip));
		__be32 both[2];

		if (!ip)
			return -1;
		both[0] = ip->daddr;
		both[1] = ip->saddr;
		old = bpf_htons(ip->ttl << 8);
		new = bpf_htons(ttl << 8);
		return put(ctx, r->l3 + IPV4_TTL, &ttl, sizeof(ttl)) ||
		       put(ctx, r->l3 + IPV4_SOURCE, both, sizeof(both)) ||
		       fix_ip(ctx, r->l3 + IPV4_CHECKSUM, csum_diff16(old, new));
	} else {
		struct ipv6hdr *ip = at(ctx, r->l3, sizeof(*ip));
		struct addr both[2];

		if (!ip)
			return -1;
		set_addr6(&both[0], &ip->daddr);
		set_addr6(&both[1], &ip->saddr);
		return put(ctx, r->l3 + IPV6_HOP_LIMIT, &ttl, sizeof(ttl)) ||
		       put(ctx, r->l3 + IPV6_SOURCE, both, sizeof(both));
	}
}

/* put_flags writes the tail's flags and returns in diff what that adds to a checksum. */
static __always_inline int put_flags(context *ctx, const struct request *r, __u8 flags, __u64 *diff)
{
	struct tunnel_tail *tail = at(ctx, r->tail, sizeof(*tail)), copy;

	if (!tail)
		return -1;
	copy = *tail;
	copy.flags = flags;
	*diff = csum_diff16(bpf_htons(tail->hop << 8 | tail->flags),
			    bpf_htons(copy.hop << 8 | copy.flags));
	return put(ctx, r->tail, &copy, sizeof(copy));
}

static __noinline enum verdict bounce(context *ctx, const struct request *r)
{
	__u64 diff;

	if (put_flags(ctx, r, TUNNEL_BOUNCE, &diff) || swap_addrs(ctx, r) || swap_macs(ctx))
		return VERDICT_ABORT;
	return VERDICT_BOUNCE;
}

/* The prober's socket verifies the UDP checksum, so that is kept as right as it came. */
static __noinline enum verdict answer_probe(context *ctx, const struct request *r)
{
	struct udphdr *udp = at(ctx, r->udp, sizeof(*udp));
	__be16 ports[2];
	__u64 diff;

	if (!udp)
		return VERDICT_ABORT;
	ports[0] = udp->dest;
	ports[1] = udp->source;
	if (put(ctx, r->udp, ports, sizeof(ports)) ||
	    put_flags(ctx, r, TUNNEL_PROBE | TUNNEL_BOUNCE, &diff) ||
	    fix_l4(ctx, r->udp + UDP_CHECKSUM, 0, diff, IPPROTO_UDP) || swap_addrs(ctx, r) ||
	    swap_macs(ctx))
		return VERDICT_ABORT;
	return VERDICT_PROBE_ANSWERED;
}
