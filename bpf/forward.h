// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * forward: finds the next hop of a finished packet and gives the frame its
 * Ethernet header. In this order: what the agent resolved, the kernel's FIB, and
 * the kernel itself, to which the frame is passed with its old MACs, so that it
 * takes the packet as its own to route.
 */
#pragma once
#include "parse.h"

#define AF_INET	 2
#define AF_INET6 10

enum route {
	ROUTE_DIRECT, /* we send it: p->action and p->hop say how */
	ROUTE_KERNEL, /* the kernel sends it */
	ROUTE_NONE,
	ROUTE_TOO_BIG, /* p->hop.mtu says what would fit */
};

static __noinline enum route fib_route(context *ctx, struct packet *p, const struct addr *src,
				       const struct addr *dst)
{
	struct bpf_fib_lookup fib = {
		.l4_protocol = p->tuple.proto,
		.tot_len = p->len,
		.ifindex = ctx->ingress_ifindex,
	};
	struct nexthop *hop = &p->hop;
	long err;

	if (p->family == 4) {
		fib.family = AF_INET;
		fib.ipv4_src = src->words[3];
		fib.ipv4_dst = dst->words[3];
	} else {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, src, sizeof(*src));
		__builtin_memcpy(fib.ipv6_dst, dst, sizeof(*dst));
	}
	err = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	switch (err) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		break;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return ROUTE_NONE;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		hop->mtu = fib.mtu_result;
		return ROUTE_TOO_BIG;
	default:
		return ROUTE_KERNEL;
	}
	hop->ifindex = fib.ifindex;
	__builtin_memcpy(hop->dst_mac, fib.dmac, sizeof(hop->dst_mac));
	__builtin_memcpy(hop->src_mac, fib.smac, sizeof(hop->src_mac));
	return ROUTE_DIRECT;
}

/*
 * route decides how the packet leaves, before anything is written. p->hop comes as
 * the agent resolved it, or zero.
 */
static __always_inline enum route route(context *ctx, struct packet *p, const struct addr *src,
					const struct addr *dst)
{
	struct nexthop *hop = &p->hop;
	enum route r = ROUTE_DIRECT;
	__u32 ifindex;

	if (!hop->ifindex)
		r = fib_route(ctx, p, src, dst);
	else if (hop->mtu && p->len > hop->mtu)
		r = ROUTE_TOO_BIG;
	if (r == ROUTE_TOO_BIG && !p->dont_fragment)
		return ROUTE_KERNEL;
	if (r != ROUTE_DIRECT)
		return r;
	if (hop->ifindex == ctx->ingress_ifindex) {
		p->action = XDP_TX;
		return r;
	}
	p->action = XDP_REDIRECT;
	ifindex = hop->ifindex; /* a key of this function's own, see lb.bpf.c */
	return bpf_map_lookup_elem(&devices, &ifindex) ? r : ROUTE_KERNEL;
}

/* transmit writes the Ethernet header for p->hop in front of the packet. */
static __always_inline int transmit(context *ctx, struct packet *p)
{
	const struct nexthop *hop = &p->hop;
	int header = sizeof(struct ethhdr) + (hop->vlan ? sizeof(struct vlan_tag) : 0);
	__be16 proto = p->family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	struct ethhdr *eth;

	if (header != p->l3 && bpf_xdp_adjust_head(ctx, p->l3 - header))
		return -1;
	eth = at(ctx, 0, sizeof(*eth) + sizeof(struct vlan_tag)); /* an IP header follows */
	if (!eth)
		return -1;
	copy_mac(eth->h_dest, hop->dst_mac);
	copy_mac(eth->h_source, hop->src_mac);
	eth->h_proto = proto;
	if (hop->vlan) {
		struct vlan_tag *tag = (void *)(eth + 1);

		eth->h_proto = bpf_htons(ETH_P_8021Q);
		tag->tci = bpf_htons(hop->vlan);
		tag->proto = proto;
	}
	if (p->action == XDP_REDIRECT)
		p->action = bpf_redirect_map(&devices, hop->ifindex, XDP_DROP);
	return 0;
}
