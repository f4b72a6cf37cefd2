// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* slot: the flow's row of the service's table says which backend has it. */
#pragma once
#include "chain.h"
#include "flowhash.h"

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

/*
 * select_backend chooses for a packet of flow t: an owner of its row that is not yet
 * known not to have the flow. p->asked says which one, p->accept that it is the last.
 */
static __always_inline struct backend *select_backend(struct packet *p, const struct tuple *t,
						      __u32 service, struct region region)
{
	__u64 ports =
		(__u64)bpf_ntohs(t->sport) << 48 | (__u64)bpf_ntohs(t->dport) << 32 | t->proto;
	__u32 order = region.table % REGION_ALIGN, base = region.table - order, row, line, word;
	struct slot_line *slots_of;
	struct backend *b;
	int chained;

	p->hash = flow_hash(t, p->family, ports);
	row = (region.flags & REGION_AFFINITY ? flow_hash(t, p->family, 0) : p->hash) >> 32;
	row = base + (row & ((1U << order) - 1));
	line = row / SLOTS_PER_LINE;
	slots_of = bpf_map_lookup_elem(&slots, &line);
	if (!slots_of)
		return NULL;
	word = slots_of->rows[row % SLOTS_PER_LINE];
	p->backend = word & ~SLOT_CHAINED;
	chained = word != p->backend;
	b = backend_at(p->backend);
	if (p->bounced || (chained && !(filtered(p->hash) && answers(b)))) {
		search(p, service, row, chained);
		b = backend_at(p->backend);
	} else {
		p->version = version_hash(p->backend);
		p->accept = !chained && t->proto == IPPROTO_UDP; /* which has no SYN */
	}
	return b && b->service == service ? b : NULL;
}
