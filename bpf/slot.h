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

static __always_inline struct backend *select_backend(struct packet *p, const struct frontend *fe)
{
	const struct tuple *t = &p->tuple;
	__u64 ports =
		(__u64)bpf_ntohs(t->sport) << 48 | (__u64)bpf_ntohs(t->dport) << 32 | t->proto;
	__u32 hash = flow_hash(p, fe->flags & FRONTEND_AFFINITY ? 0 : ports);
	__u32 row = fe->base + (hash & fe->mask);
	__u32 line = row / SLOTS_PER_LINE;
	struct slot_line *slots_of = bpf_map_lookup_elem(&slots, &line);

	if (!slots_of)
		return NULL;
	p->backend = slots_of->rows[row % SLOTS_PER_LINE];
	return backend_at(p->backend);
}
