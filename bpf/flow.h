// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * flow: what NAT has to remember. A flow is two entries of one map, one for each
 * direction's tuple, each saying what its packets become. Either can be made
 * again from the other: every few ticks the half that is in use renews the other,
 * so that eviction takes whole flows or none that live.
 *
 * TCP is tracked as far as freeing ports needs it. A retired flow (past its
 * state's timeout in both directions) is taken over in place by whoever wants
 * its port; Go's sweep removes the rest.
 */
#pragma once
#include "slot.h"
#include "tick.h"

#define EARLY_TICKS 2 /* a SYN or FIN is repeated after a second */
#define RENEW_TICKS 4 /* a second lookup is dear when there are many flows */

/* other_key gives the key of the other half of flow f; field by field, for a literal would be
 * copied. */
static __always_inline void other_key(const struct tuple *t, const struct flow *f,
				      struct tuple *key)
{
	key->src = f->dst;
	key->dst = f->src;
	key->sport = f->dport;
	key->dport = f->sport;
	key->proto = t->proto;
	__builtin_memset(key->pad, 0, sizeof(key->pad));
}

/* other_value gives what the other half says. */
static __always_inline void other_value(const struct tuple *t, const struct flow *f,
					struct flow *value)
{
	value->src = t->dst;
	value->dst = t->src;
	value->sport = t->dport;
	value->dport = t->sport;
	value->state = f->state;
	value->flags = f->flags ^ FLOW_REPLY;
	value->renewed = f->renewed;
	value->backend = f->backend;
	value->seen = f->seen;
}

/* leads_back says whether the entry found under the other half's key is that half. */
static __always_inline int leads_back(const struct flow *other, const struct tuple *t)
{
	return other && same_addr(&other->src, &t->dst) && same_addr(&other->dst, &t->src) &&
	       other->sport == t->dport && other->dport == t->sport;
}

/*
 * idle: no packet for longer than the flow's state allows. Early, when ports are
 * short, flows that are not established get but a few ticks.
 */
static __always_inline int idle(const struct flow *f, __u32 now, int early)
{
	__u32 state = f->state, limit;

	if (state >= FLOW_STATES)
		return 1;
	limit = timeouts[state];
	if (early && state != FLOW_ESTABLISHED && state != FLOW_UDP && limit > EARLY_TICKS)
		limit = EARLY_TICKS;
	return (__s32)(now - f->seen) > (__s32)limit;
}

/* retired: idle both ways. */
static __noinline int retired(const struct tuple *t, const struct flow *f, __u32 now, int early)
{
	struct tuple key;
	struct flow *other;

	if (!idle(f, now, early))
		return 0;
	other_key(t, f, &key);
	other = bpf_map_lookup_elem(&flows, &key);
	return !leads_back(other, t) || idle(other, now, early);
}

/*
 * renew makes sure of the flow's other half. It returns 0 where the other half's
 * tuple serves another flow by now: this one is over.
 */
static __noinline int renew(const struct tuple *t, struct flow *f, __u32 now)
{
	struct tuple key;
	struct flow want, *other;

	f->renewed = now;
	other_key(t, f, &key);
	other = bpf_map_lookup_elem(&flows, &key);
	if (leads_back(other, t))
		return 1;
	other_value(t, f, &want);
	if (!other && !bpf_map_update_elem(&flows, &key, &want, BPF_NOEXIST))
		return 1;
	other = bpf_map_lookup_elem(&flows, &key); /* another CPU may just have renewed it */
	if (leads_back(other, t))
		return 1;
	bpf_map_delete_elem(&flows, t);
	return 0;
}

/* set_state changes both halves. */
static __noinline void set_state(const struct tuple *t, struct flow *f, enum flow_state state,
				 enum flow_flags flags, __u16 renewed)
{
	struct tuple key;
	struct flow *other;

	f->state = state;
	f->flags |= flags;
	f->renewed = renewed;
	other_key(t, f, &key);
	other = bpf_map_lookup_elem(&flows, &key);
	if (leads_back(other, t)) {
		other->state = state;
		other->flags |= flags;
		other->renewed = renewed;
	}
}

/*
 * A flow is open when its client has acknowledged the backend's SYN, which a
 * forged address does not see; when a client goes on after a RST, which was then
 * forged; or, if it began in the middle, when the backend answers with no RST.
 */
static __always_inline int opens(const struct packet *p, const struct flow *f)
{
	const __u8 both = FLOW_FIN_CLIENT | FLOW_FIN_BACKEND;

	if (f->flags & FLOW_REPLY)
		return f->state == FLOW_CLOSED;
	if (f->state == FLOW_NEW)
		return f->flags & FLOW_ANSWERED && p->fragment == FRAGMENT_NONE &&
		       (__u16)p->tcp_ack == f->renewed;
	return f->state == FLOW_CLOSING && (f->flags & both) != both;
}

/* track follows TCP; data packets of an established flow change nothing. */
static __always_inline void track(const struct packet *p, const struct tuple *t, struct flow *f,
				  __u32 now)
{
	const __u8 both = FLOW_FIN_CLIENT | FLOW_FIN_BACKEND;
	__u8 reply = f->flags & FLOW_REPLY, fins = f->flags & both;

	if (f->state == FLOW_UDP)
		return;
	if (p->tcp_flags & TCP_RST) {
		set_state(t, f, reply ? FLOW_CLOSED : FLOW_CLOSING, 0, f->renewed);
	} else if (p->tcp_flags & TCP_FIN) {
		fins |= reply ? FLOW_FIN_BACKEND : FLOW_FIN_CLIENT;
		set_state(t, f, fins == both ? FLOW_CLOSING : f->state, fins, f->renewed);
	} else if (p->tcp_flags & TCP_SYN) {
		if (reply && f->state == FLOW_NEW && p->fragment == FRAGMENT_NONE)
			set_state(t, f, FLOW_NEW, FLOW_ANSWERED, p->tcp_ack);
	} else if (f->state != FLOW_ESTABLISHED && opens(p, f)) {
		set_state(t, f, FLOW_ESTABLISHED, 0, now);
	}
}

/*
 * lookup_flow returns the flow of the packet, whose tuple is t, NULL where it has none, or none any
 * more: its time is up, or a SYN wants to use a closed flow's tuple again.
 */
static __always_inline struct flow *lookup_flow(const struct packet *p, const struct tuple *t)
{
	struct flow *f = bpf_map_lookup_elem(&flows, t);
	__u32 now;

	if (!f)
		return NULL;
	if (is_new_syn(p) && (f->state == FLOW_CLOSING || f->state == FLOW_CLOSED))
		return NULL;
	now = now_tick();
	if (f->seen != now) {
		if (idle(f, now, 0) && retired(t, f, now, 0))
			return NULL;
		f->seen = now;
		if (f->state != FLOW_NEW && (__u16)(now - f->renewed) >= RENEW_TICKS &&
		    !renew(t, f, now))
			return NULL;
	}
	if (p->fragment != FRAGMENT_LATER)
		track(p, t, f, now);
	return f;
}

/* find_backend mends the flow's hint; 0 if the service has that backend no more. */
static __noinline int find_backend(struct flow *f, __u32 service)
{
	struct backend_key key = {};
	__u32 *index;

	key.addr = f->dst;
	key.port = f->dport;
	key.service = service;
	index = bpf_map_lookup_elem(&backend_indices, &key);
	if (!index)
		return 0;
	f->backend = *index;
	return 1;
}

/* hinted_backend returns the backend that the flow's hint names and notes it in p, NULL if it is
 * another one. */
static __always_inline struct backend *hinted_backend(struct packet *p, const struct flow *f,
						      __u32 service)
{
	__u32 index = *(volatile __u32 *)&f->backend;
	struct backend *b = remembered_backend(index, service);

	if (!b || b->port != f->dport || !same_addr(&b->addr, &f->dst))
		return NULL;
	p->backend = index;
	return b;
}

/* flow_backend returns the backend that the flow is on and notes it in p, or NULL. */
static __always_inline struct backend *flow_backend(struct packet *p, struct flow *f, __u32 service)
{
	struct backend *b = hinted_backend(p, f, service);

	if (!b && find_backend(f, service))
		b = hinted_backend(p, f, service);
	return b;
}

static __always_inline void delete_flow(const struct tuple *t, const struct flow *f)
{
	struct tuple key;

	other_key(t, f, &key);
	bpf_map_delete_elem(&flows, &key);
	bpf_map_delete_elem(&flows, t);
}
