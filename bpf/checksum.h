// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * checksum: incremental updates (RFC 1624). A difference is a plain sum of
 * 32-bit words, ~old + new for each that changes; sums of ones' complement do
 * not mind the width, the order nor (RFC 1071, 2.B) the byte order.
 */
#pragma once
#include "types.h"

static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static __always_inline __u64 csum_diff32(__be32 old, __be32 new)
{
	return (__u64)(__u32)~old + new;
}

static __always_inline __u64 csum_diff16(__be16 old, __be16 new)
{
	return (__u64)(__u16)~old + new;
}

/* For IPv4 the mapped prefix is the same in both and adds nothing (a multiple of 0xffff). */
static __always_inline __u64 csum_diff_addr(const struct addr *old, const struct addr *new)
{
	return csum_diff32(old->words[0], new->words[0]) +
	       csum_diff32(old->words[1], new->words[1]) +
	       csum_diff32(old->words[2], new->words[2]) +
	       csum_diff32(old->words[3], new->words[3]);
}

static __always_inline void csum_apply(__be16 *check, __u64 diff)
{
	*check = ~csum_fold((__u64)(__u16) ~*check + diff);
}

/* UDP: 0 says that there is no checksum, a computed 0 is sent as 0xffff (RFC 768). */
static __always_inline void csum_apply_udp(__be16 *check, __u64 diff)
{
	if (!*check)
		return;
	csum_apply(check, diff);
	if (!*check)
		*check = 0xffff;
}
