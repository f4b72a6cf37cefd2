// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * chain: finds the owner of a flow that may have been displaced. The owners of the
 * row's chain are asked one after the other, then those of the next ranks, and at
 * last the primary is told to accept. Each bounce goes one position on, so there are
 * at most OWNERS_MAX of them, and one more where learned was wrong.
 *
 * A row may change while a packet is away, and a position then means another owner. So
 * the packet carries the version of the row that it was sent by, and if that is not the
 * row's any more the search begins anew: RESTARTS_MAX times, so that it ends whatever
 * becomes of the row. One Sync can give a row two versions, see putRow in maps.
 *
 * Owners whose nodes do not answer are passed over, or what is behind them would not be
 * found. A flow that nobody else knows may be theirs, so that nobody else takes it: its
 * pod would end it, while the node may be back in a moment.
 */
#pragma once
#include "geneve.h"
#include "learned.h"

#define OWNERS_MAX (1 + CHAIN_MAX + RANKS_MAX)
#define NOBODY	   0xffffffff /* no index of backends; as a row, one without owners */

/* answers: the backend could have the flow. What is translated here can't be asked. */
static __always_inline int answers(const struct backend *b)
{
	struct tunnel *t = b ? tunnel_of(b) : NULL;

	return t && !(t->flags & TUNNEL_DEAD);
}

enum owner_state {
	OWNER_NONE,
	OWNER_ANSWERS,
	OWNER_SILENT,
};

__noinline enum owner_state owner_state(__u32 index, __u32 service)
{
	struct backend *b = backend_at(index);

	if (!b || b->service != service || !tunnel_of(b)) /* translated here, for one */
		return OWNER_NONE;
	return answers(b) ? OWNER_ANSWERS : OWNER_SILENT;
}

/*
 * owner_at names the owner at a position of the row: its primary, then the chain's
 * (among them the primary again, or while the row changes the one of before), then
 * the next ranks. There may be none.
 */
__noinline __u32 owner_at(__u32 primary, int chained, __u32 row, __u32 position)
{
	struct rank *r = bpf_map_lookup_elem(&ranks, &row);
	struct chain *c;
	__u32 key;

	if (!position)
		return primary;
	if (!r)
		return NOBODY;
	position--;
	key = r->chain;
	if (primary == (NOBODY & ~SLOT_CHAINED)) /* no owners, so key is of other times */
		chained = 0;
	c = chained ? bpf_map_lookup_elem(&chains, &key) : NULL;
	if (c && position < c->count) {
		barrier_var(position);
		if (position >= CHAIN_MAX)
			return NOBODY;
		key = c->owners[position];
		return key == primary ? NOBODY : key;
	}
	if (c)
		position -= c->count;
	barrier_var(position);
	return position < RANKS_MAX ? r->owners[position] - 1 : NOBODY;
}

/*
 * silent_owners names the first owner of the row that could have the flow if its node
 * answered, or nobody; in the upper half of the result it says how many there are.
 */
__noinline __u64 silent_owners(__u32 primary, __u32 service, __u32 row, int chained)
{
	__u32 first = NOBODY;
	__u64 count = 0;

	for (__u32 position = 0; position < OWNERS_MAX; position++) {
		__u32 owner = owner_at(primary, chained, row, position);

		if (owner_state(owner, service) != OWNER_SILENT)
			continue;
		if (!count++)
			first = owner;
	}
	return count << 32 | first;
}

/*
 * wait_for leaves the flow to an owner that does not answer. If there is but one, the
 * next packet goes there at once; if more, the others have to be asked when they answer.
 */
static __always_inline void wait_for(struct packet *p, __u32 service, __u64 silent)
{
	p->backend = silent;
	if (silent >> 32 == 1)
		learn(p, service);
}

/* A packet's p->version: how often its search has begun anew, and which version asks. */
#define VERSION_BITS  12
#define VERSION_MASK  ((1 << VERSION_BITS) - 1)
#define RESTARTS_MAX  3
#define RESTARTS_MASK (RESTARTS_MAX << VERSION_BITS)

static __always_inline __u16 version_hash(__u32 v)
{
	return v * 0x9e3779b1 >> (32 - VERSION_BITS);
}

/*
 * version_of is another one, but for one time in 4096, once the row has other owners: a
 * chain keeps its place as long as a row names it.
 */
static __always_inline __u16 version_of(__u32 primary, int chained, __u32 row)
{
	struct rank *r = bpf_map_lookup_elem(&ranks, &row);
	__u32 v = primary;

	if (!r)
		return 0;
	for (int i = 0; i < RANKS_MAX; i++)
		v = v * 31 + r->owners[i];
	if (chained)
		v = v * 31 + r->chain + 1;
	return version_hash(v);
}

/*
 * begins_anew says whether a packet that came back was sent by another version. Of who is
 * asked first no more matters than that it is the primary.
 */
static __always_inline int begins_anew(const struct packet *p, __u16 came, __u32 primary, __u16 now)
{
	return p->bounced && p->asked != HOP_LEARNED && (came & RESTARTS_MASK) != RESTARTS_MASK &&
	       (came & VERSION_MASK) != (p->asked ? now : version_hash(primary));
}

/*
 * search sets p->backend, which is the row's primary, and p->asked, p->accept and
 * p->version. The version is read before the owners: what changes in between is found
 * to have changed when the packet comes back.
 */
__noinline int search(struct packet *p, __u32 service, __u32 row, int chained)
{
	__u16 came, now, restarts;
	__u32 next, primary;
	__u64 silent;

	if (!p)
		return 0;
	next = p->bounced ? (__u8)(p->asked + 1) : 0;
	primary = p->backend;
	came = p->bounced ? p->version ^ flow_mark(p) : 0;
	p->version = version_hash(primary);
	p->accept = 0;
	if (is_new_syn(p)) {
		forget(p); /* the tuple is used again */
		return 0;
	}
	if (!p->bounced && recall(p, service)) {
		p->asked = HOP_LEARNED;
		p->version = 0;
		return 0;
	}
	now = version_of(primary, chained, row);
	restarts = came & RESTARTS_MASK;
	if (begins_anew(p, came, primary, now)) {
		restarts += 1 << VERSION_BITS;
		next = 0;
	}
	for (; next < OWNERS_MAX; next++) {
		__u32 owner = owner_at(primary, chained, row, next);

		if (owner_state(owner, service) != OWNER_ANSWERS)
			continue;
		p->backend = owner;
		p->asked = next;
		p->version = restarts | (next ? now : p->version);
		if (p->bounced && next)
			learn(p, service);
		else if (p->bounced)
			forget(p);
		return 0;
	}
	forget(p);
	p->version = 0;
	p->asked = OWNERS_MAX;
	if (p->tuple.proto != IPPROTO_UDP) { /* a datagram may as well begin a flow */
		silent = silent_owners(primary, service, row, chained);
		if (silent >> 32) {
			wait_for(p, service, silent);
			return 0;
		}
	}
	p->backend = primary;
	p->accept = 1;
	return 0;
}
