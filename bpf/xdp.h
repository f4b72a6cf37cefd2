// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* xdp: what a frame is to an XDP program. The entry file includes this, or its like for tc, first.
 */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef struct xdp_md context;

/* frame_len is the whole frame's, of which data to data_end may be the first part only. */
static __always_inline __u32 frame_len(context *ctx)
{
	return bpf_xdp_get_buff_len(ctx);
}
