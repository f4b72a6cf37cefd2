// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * edit: how a tc program changes a packet; see edit_xdp.h. The kernel's helpers know
 * what a socket buffer may be: shared with others, in pieces, with a checksum that
 * hardware is yet to fill in (CHECKSUM_PARTIAL) or one over all its bytes that has to
 * follow every change (CHECKSUM_COMPLETE). They make pointers into the frame invalid.
 */
#pragma once
#include "checksum.h"
#include "packet.h"

#define PULL_MAX 512 /* bytes; no header is looked for further in, see OFFSET_MASK */

static __always_inline void pull(context *ctx)
{
	__u32 len = ctx->len < PULL_MAX ? ctx->len : PULL_MAX;

	if (ctx->data_end - ctx->data < len)
		bpf_skb_pull_data(ctx, len);
}

static __always_inline int put(context *ctx, __u32 off, const void *from, __u32 len)
{
	return bpf_skb_store_bytes(ctx, off, from, len, 0);
}

static __always_inline __u32 csum_fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline int fix_ip(context *ctx, __u32 off, __u64 diff)
{
	return bpf_l3_csum_replace(ctx, off, 0, csum_fold32(diff), 0);
}

static __always_inline int fix_l4(context *ctx, __u32 off, __u64 pseudo, __u64 bytes, __u8 proto)
{
	__u64 zero = proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	return bpf_l4_csum_replace(ctx, off, 0, csum_fold32(pseudo), BPF_F_PSEUDO_HDR | zero) ||
	       bpf_l4_csum_replace(ctx, off, 0, csum_fold32(bytes), zero);
}

/* It fails unless the buffer is CHECKSUM_COMPLETE, and is then not needed. */
static __always_inline void uncovered(context *ctx, __u64 diff)
{
	bpf_csum_update(ctx, csum_fold32(diff));
}

/*
 * Tags in front of the packet are in the buffer's metadata; where a second one is not,
 * the kernel refuses. Its protocol has to become the inner packet's: before 6.3
 * bpf_skb_change_proto alone did that, which makes room for the other header's size.
 */
static __always_inline int strip(context *ctx, __u32 l3, __u32 inner, __u8 outer_family,
				 __u8 family)
{
	__be16 proto = family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	__s32 removed = inner - l3;
	const __s32 grows = sizeof(struct ipv6hdr) - sizeof(struct iphdr);

	if (family != outer_family) {
		if (bpf_skb_change_proto(ctx, proto, 0))
			return -1;
		removed += family == 6 ? grows : -grows;
	}
	if (bpf_skb_adjust_room(ctx, -removed, BPF_ADJ_ROOM_MAC, 0))
		return -1;
	bpf_set_hash_invalid(ctx);
	return put(ctx, offsetof(struct ethhdr, h_proto), &proto, sizeof(proto));
}

/* Whoever comes after us sees the packet too: TCX_NEXT, or the next filter of clsact. */
#define ACTION_NEXT  TC_ACT_UNSPEC
#define ACTION_DROP  TC_ACT_SHOT
#define ACTION_ABORT TC_ACT_SHOT

static __always_inline int send_back(context *ctx)
{
	return bpf_redirect(ctx->ifindex, 0);
}
