// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* slot: the flow's row of the service's table names the backend of new flows. */
#pragma once
#include "flowhash.h"

/* backend_at returns a backend in use, NULL for a free element. */
static __always_inline struct backend *backend_at(__u32 index)
{
	struct backend *b = bpf_map_lookup_elem(&backends, &index);

	return b && b->port ? b : NULL;
}

/* lookup_region returns where the service's table is; all zero for no service. */
static __always_inline struct region lookup_region(__u32 service)
{
	struct region r = {}, *stored = bpf_map_lookup_elem(&regions, &service);
	__u64 word;

	if (stored) {
		word = *(volatile __u64 *)stored;
		__builtin_memcpy(&r, &word, sizeof(r));
	}
	return r;
}

static __always_inline struct backend *select_backend(struct packet *p, __u32 service,
						      struct region region)
{
	const struct tuple *t = &p->tuple;
	__u64 ports =
		(__u64)bpf_ntohs(t->sport) << 48 | (__u64)bpf_ntohs(t->dport) << 32 | t->proto;
	__u32 hash = flow_hash(p, region.flags & REGION_AFFINITY ? 0 : ports);
	__u32 order = region.table % REGION_ALIGN, base = region.table - order;
	__u32 row = base + (hash & ((1U << order) - 1));
	__u32 line = row / SLOTS_PER_LINE;
	struct slot_line *slots_of = bpf_map_lookup_elem(&slots, &line);
	struct backend *b;

	if (!slots_of)
		return NULL;
	p->backend = slots_of->rows[row % SLOTS_PER_LINE];
	b = backend_at(p->backend);
	return b && b->service == service ? b : NULL;
}
