//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * backend: the ingress node's program for what comes in, see ingress.h. In XDP, so
 * that the stack's GRO sees the inner packets.
 */
#include "xdp.h"

#include "edit_xdp.h"
#include "ingress.h"

SEC("xdp.frags")
int backend(struct xdp_md *ctx)
{
	return ingress(ctx);
}

char _license[] SEC("license") = "Dual BSD/GPL";
