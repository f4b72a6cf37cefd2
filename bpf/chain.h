// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * chain: finds the owner of a flow that may have been displaced. The owners of the
 * row's chain are asked one after the other, then those of the next ranks, and at
 * last the primary is told to accept. Each bounce goes one position on, so there are
 * at most CHAIN_MAX + RANKS_MAX of them, and one more where learned was wrong.
 */
#pragma once
#include "learned.h"

#define OWNERS_MAX (CHAIN_MAX + RANKS_MAX)
#define NOBODY	   0xffffffff

/* can_be_asked: an owner that could have the flow. What is translated can't be asked. */
static __always_inline int can_be_asked(__u32 index, __u32 service)
{
	struct backend *b = index == NOBODY ? NULL : backend_at(index);
	struct tunnel *t = b && b->service == service ? tunnel_of(b) : NULL;

	return t && !(t->flags & TUNNEL_DEAD);
}

/* next_rank names an owner after the chain. */
static __always_inline __u32 next_rank(__u32 row, __u32 position)
{
	struct rank *r = bpf_map_lookup_elem(&ranks, &row);

	if (!r || position >= RANKS_MAX)
		return NOBODY;
	barrier_var(position);
	return r->owners[position % RANKS_MAX] - 1;
}

/* owner_at names the owner at a position of the row, whose word is given. */
static __always_inline __u32 owner_at(__u32 word, __u32 row, __u32 position)
{
	__u32 key = word & ~SLOT_CHAINED;
	struct chain *c;

	if (!(word & SLOT_CHAINED))
		return position ? next_rank(row, position - 1) : word;
	c = bpf_map_lookup_elem(&chains, &key);
	if (!c)
		return NOBODY;
	if (position >= c->count)
		return next_rank(row, position - c->count);
	if (position >= CHAIN_MAX)
		return NOBODY;
	barrier_var(position);
	return position < CHAIN_MAX ? c->owners[position] : NOBODY;
}

/* search sets p->backend, which holds the row's word, and p->asked and p->accept. */
static __noinline void search(struct packet *p, __u32 service, __u32 row)
{
	__u32 next = p->bounced ? (__u8)(p->asked + 1) : 0, word = p->backend;

	p->backend = owner_at(word, row, 0);
	p->accept = 0;
	if (is_new_syn(p)) {
		forget(p); /* the tuple is used again */
		return;
	}
	if (!p->bounced && recall(p, service)) {
		p->asked = HOP_LEARNED;
		return;
	}
	for (; next < OWNERS_MAX; next++) {
		__u32 owner = owner_at(word, row, next);

		if (!can_be_asked(owner, service))
			continue;
		p->backend = owner;
		p->asked = next;
		if (p->bounced && next)
			learn(p, service);
		else if (p->bounced)
			forget(p);
		return;
	}
	forget(p);
	p->asked = OWNERS_MAX;
	p->accept = 1;
}
