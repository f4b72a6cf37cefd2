// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* frontend: is this packet for a service, or at least for a VIP? */
#pragma once
#include "parse.h"

static __always_inline struct frontend *lookup_frontend(const struct packet *p)
{
	struct frontend_key key = {
		.vip = p->tuple.dst,
		.port = p->tuple.dport,
		.proto = p->tuple.proto,
	};

	return bpf_map_lookup_elem(&frontends, &key);
}

static __noinline int is_vip(const struct addr *a)
{
	struct frontend_key key = {.vip = *a};

	return bpf_map_lookup_elem(&frontends, &key) != NULL;
}
