// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * fragment: later fragments follow their first one, which alone has the ports.
 * Only fragments of packets that concern us are remembered.
 */
#pragma once
#include "packet.h"
#include "tick.h"

#define FRAGMENT_TICKS 30 /* RFC 791 suggests 15 s for reassembly, Linux takes 30 */

static __always_inline struct fragment_key fragment_key_of(const struct packet *p)
{
	return (struct fragment_key){
		.src = p->tuple.src,
		.dst = p->tuple.dst,
		.id = p->fragment_id,
		/* RFC 791 and RFC 8200: it is part of a datagram's identity in IPv4 only */
		.proto = p->family == 4 ? p->tuple.proto : 0,
	};
}

static __noinline void remember(const struct packet *p)
{
	struct fragment_key key = fragment_key_of(p);
	struct fragment value = {
		.sport = p->tuple.sport,
		.dport = p->tuple.dport,
		.seen = now_tick(),
		.proto = p->tuple.proto,
	};

	bpf_map_update_elem(&fragments, &key, &value, BPF_ANY);
}

static __always_inline void remember_fragment(const struct packet *p)
{
	if (p->fragment == FRAGMENT_FIRST)
		remember(p);
}

/* lookup_fragment gives a later fragment its protocol and ports, or returns -1. */
static __noinline int lookup_fragment(struct packet *p)
{
	struct fragment_key key = fragment_key_of(p);
	struct fragment *first = bpf_map_lookup_elem(&fragments, &key);

	if (!first || (__s32)(now_tick() - first->seen) > FRAGMENT_TICKS)
		return -1;
	p->tuple.sport = first->sport;
	p->tuple.dport = first->dport;
	p->tuple.proto = first->proto;
	return 0;
}
