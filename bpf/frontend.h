// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* frontend: is this packet for a service, or at least for a VIP? */
#pragma once
#include "parse.h"

/* ask_frontends returns what the map says, and keeps it for this CPU's next packets. */
static __noinline __u32 ask_frontends(const struct tuple *t, struct cached_frontend *c,
				      __u32 generation)
{
	struct frontend_key key = {
		.vip = t->dst,
		.port = t->dport,
		.proto = t->proto,
	};
	struct frontend *fe = bpf_map_lookup_elem(&frontends, &key);

	if (!fe || !fe->service)
		return 0;
	if (c) {
		c->key = key;
		c->service = fe->service;
		c->generation = generation;
	}
	return fe->service;
}

/* lookup_service returns the number of the service that the tuple's destination is of, or 0. */
static __always_inline __u32 lookup_service(const struct tuple *t)
{
	__u32 zero = 0, mixed = (t->dst.words[0] ^ t->dst.words[1] ^ t->dst.words[2] ^
				 t->dst.words[3] ^ t->dport) *
				0x9e3779b1U;
	__u32 at = mixed >> (32 - FRONTEND_CACHE_ORDER);
	__u64 *now = bpf_map_lookup_elem(&frontend_generation, &zero);
	struct cached_frontend *c = bpf_map_lookup_elem(&frontend_cache, &at);
	__u32 generation;

	if (!now)
		return 0;
	generation = *(volatile __u64 *)now;
	if (c && c->generation == generation && c->service && same_addr(&c->key.vip, &t->dst) &&
	    c->key.port == t->dport && c->key.proto == t->proto)
		return c->service;
	return ask_frontends(t, c, generation);
}

static __noinline int is_vip(const struct addr *a)
{
	struct frontend_key key = {.vip = *a};

	return bpf_map_lookup_elem(&frontends, &key) != NULL;
}
