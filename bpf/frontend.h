// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* frontend: is this packet for a service, or at least for a VIP? */
#pragma once
#include "parse.h"

/* lookup_service returns the number of the service that the tuple's destination is of, or 0. */
static __noinline __u32 lookup_service(const struct tuple *t)
{
	struct frontend_key key = {
		.vip = t->dst,
		.port = t->dport,
		.proto = t->proto,
	};
	struct frontend *fe = bpf_map_lookup_elem(&frontends, &key);

	return fe ? fe->service : 0;
}

static __noinline int is_vip(const struct addr *a)
{
	struct frontend_key key = {.vip = *a};

	return bpf_map_lookup_elem(&frontends, &key) != NULL;
}
