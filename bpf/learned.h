// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * learned: which backend has kept a displaced flow. Most flows of a chained row are
 * not displaced, and a lookup among the many that are costs more than all the rest,
 * so a filter that stays in the cache comes first. What it forgets is found again.
 */
#pragma once
#include "backend.h"
#include "tick.h"

#define FILTER_WORDS_ORDER (FILTER_ORDER - 6)
#define FILTER_BITS	   64

static __always_inline __u64 *filter_word(__u64 hash, __u32 generation)
{
	__u32 word = (generation % FILTER_GENERATIONS) << FILTER_WORDS_ORDER |
		     (hash & ((1U << FILTER_WORDS_ORDER) - 1));

	return bpf_map_lookup_elem(&learned_filter, &word);
}

static __always_inline __u64 filter_bit(__u64 hash)
{
	return 1ULL << (hash >> FILTER_WORDS_ORDER) % FILTER_BITS;
}

static __always_inline __u32 filter_generation(void)
{
	return now_tick() >> FILTER_SHIFT;
}

/* filtered: the flow is certainly not displaced, as far as this node has learned. */
static __always_inline int filtered(__u64 hash)
{
	__u32 generation = filter_generation();
	__u64 *now = filter_word(hash, generation), *before = filter_word(hash, generation - 1);

	return !now || !before || !((*now | *before) & filter_bit(hash));
}

static __always_inline void mark(__u64 hash)
{
	__u64 *word = filter_word(hash, filter_generation()), bit = filter_bit(hash);

	if (word && !(*word & bit))
		__sync_fetch_and_or(word, bit);
}

static __always_inline void learn(const struct packet *p, __u32 service)
{
	struct learned_owner value = {.backend = p->backend, .service = service};
	__u64 key = p->hash;

	bpf_map_update_elem(&learned, &key, &value, BPF_ANY);
	mark(key);
}

static __always_inline void forget(const struct packet *p)
{
	__u64 key = p->hash;

	if (!filtered(key))
		bpf_map_delete_elem(&learned, &key);
}

/* recall returns the backend that has the displaced flow, NULL if none is known to. */
static __always_inline struct backend *recall(struct packet *p, __u32 service)
{
	struct learned_owner *known;
	__u64 key = p->hash;
	struct backend *b;
	__u32 index;

	if (filtered(key))
		return NULL;
	known = bpf_map_lookup_elem(&learned, &key);
	if (!known || known->service != service)
		return NULL;
	index = known->backend;
	b = remembered_backend(index, service);
	if (!b || !b->tunnel)
		return NULL;
	p->backend = index;
	mark(key);
	return b;
}
