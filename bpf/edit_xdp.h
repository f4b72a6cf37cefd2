// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * edit: how an XDP program changes a frame. edit_tc.h has the same functions for
 * socket buffers, so that what is changed is written once. All return 0, or not.
 */
#pragma once
#include "checksum.h"
#include "packet.h"

/* pull sees to it that the first bytes can be read. A driver keeps the headers in one piece. */
static __always_inline void pull(context *ctx)
{
}

/* put writes len bytes, a constant. */
static __always_inline int put(context *ctx, __u32 off, const void *from, __u32 len)
{
	void *to = at(ctx, off, len);

	if (!to)
		return -1;
	__builtin_memcpy(to, from, len);
	return 0;
}

/* fix_ip adds a difference to the checksum of an IPv4 header. */
static __always_inline int fix_ip(context *ctx, __u32 off, __u64 diff)
{
	__be16 *check = at(ctx, off, sizeof(*check));

	if (!check)
		return -1;
	csum_apply(check, diff);
	return 0;
}

/*
 * fix_l4 adds differences to a transport's checksum: of what its pseudo-header covers,
 * and of its own bytes.
 */
static __always_inline int fix_l4(context *ctx, __u32 off, __u64 pseudo, __u64 bytes, __u8 proto)
{
	__be16 *check = at(ctx, off, sizeof(*check));

	if (!check)
		return -1;
	if (proto == IPPROTO_UDP)
		csum_apply_udp(check, pseudo + bytes);
	else
		csum_apply(check, pseudo + bytes);
	return 0;
}

/* uncovered tells of changed bytes that no checksum in the packet makes up for. */
static __always_inline void uncovered(context *ctx, __u64 diff)
{
}

/*
 * strip removes what is between the Ethernet header, which ends at l3, and the packet
 * at inner, which is of the given family.
 */
static __always_inline int strip(context *ctx, __u32 l3, __u32 inner, __u8 outer_family,
				 __u8 family)
{
	__be16 proto = family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	__u32 removed = inner - l3;
	struct ethhdr *from = at(ctx, 0, sizeof(*from)), *to = at(ctx, removed, sizeof(*to));

	if (!from || !to)
		return -1;
	__builtin_memcpy(to, from, sizeof(*to));
#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		__u32 off = sizeof(struct ethhdr) + i * sizeof(struct vlan_tag);
		struct vlan_tag *tag = at(ctx, off, sizeof(*tag)), *copy;

		if (off >= l3)
			break;
		copy = at(ctx, removed + off, sizeof(*copy));
		if (!tag || !copy)
			return -1;
		*copy = *tag;
	}
	if (put(ctx, inner - sizeof(proto), &proto, sizeof(proto)))
		return -1;
	return bpf_xdp_adjust_head(ctx, removed);
}

#define ACTION_NEXT  XDP_PASS
#define ACTION_DROP  XDP_DROP
#define ACTION_ABORT XDP_ABORTED

/* send_back lets the frame leave by the device that it came in by. */
static __always_inline int send_back(context *ctx)
{
	return XDP_TX;
}
