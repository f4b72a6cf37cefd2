//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * backend_tc: the ingress node's programs for what goes out, see return.h, and for
 * what comes in by devices whose XDP is another's, see ingress.h.
 */
#include "tc.h"

#include "edit_tc.h"
#include "ingress.h"
#include "return.h"

/* Segments that were merged are not one packet of the tunnel, see judge_outer. */
SEC("tc")
int backend_in(struct __sk_buff *ctx)
{
	return ingress(ctx);
}

SEC("tc")
int backend_out(struct __sk_buff *ctx)
{
	return egress(ctx);
}

char _license[] SEC("license") = "Dual BSD/GPL";
