// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* ecn: congestion that the tunnel met becomes the inner packet's (RFC 6040, 4.2). */
#pragma once
#include "packet.h"

#define ECN_NOT_ECT 0
#define ECN_ECT1    1
#define ECN_ECT0    2
#define ECN_CE	    3

/* The traffic class stands across the first two bytes of an IPv6 header. */
#define ECN6_SHIFT 4

/* merge_ecn returns the inner packet's field, or -1 where it could not tell of congestion. */
static __always_inline int merge_ecn(__u8 outer, __u8 inner)
{
	if (outer == ECN_CE)
		return inner == ECN_NOT_ECT ? -1 : ECN_CE;
	if (outer == ECN_ECT1 && inner == ECN_ECT0)
		return ECN_ECT1;
	return inner;
}

/* inner_word is the IP header's first, in which the field is. */
static __always_inline int read_word(context *ctx, __u32 l3, __be16 *word)
{
	__be16 *at_l3 = at(ctx, l3, sizeof(*at_l3));

	if (!at_l3)
		return -1;
	*word = *at_l3;
	return 0;
}
