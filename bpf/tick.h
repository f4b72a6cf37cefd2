// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* tick: the data path's clock. */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "types.h"

static __always_inline __u32 now_tick(void)
{
	return bpf_ktime_get_coarse_ns() >> TICK_SHIFT;
}
