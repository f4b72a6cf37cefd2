// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* tc: what a frame is to a tc program. The entry file includes this first, see xdp.h. */
#pragma once
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

typedef struct __sk_buff context;

static __always_inline __u32 frame_len(context *ctx)
{
	return ctx->len;
}
