// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * port: a new flow gets a port of the node's, such that the backend's answers to it
 * are nobody else's, and so its two halves.
 */
#pragma once
#include "flow.h"

#define PORT_PROBES 32 /* and as many again that take what is idle */

/* end_other removes the other half of flow f, which is about to lose this one. */
static __noinline int end_other(const struct tuple *t, const struct flow *f)
{
	struct tuple key;

	other_key(t, f, &key);
	return leads_back(bpf_map_lookup_elem(&flows, &key), t) ? bpf_map_delete_elem(&flows, &key)
								: 0;
}

/*
 * claim takes the tuple for a new flow's reply half, from a retired flow if need
 * be. Of several CPUs only one wins the swap.
 */
static __always_inline int claim(const struct tuple *key, const struct flow *value, int early)
{
	struct flow *old = bpf_map_lookup_elem(&flows, key);
	__u32 seen;

	if (!old)
		return !bpf_map_update_elem(&flows, key, value, BPF_NOEXIST);
	seen = old->seen;
	if (!retired(key, old, value->seen, early))
		return 0;
	if (__sync_val_compare_and_swap(&old->seen, seen, value->seen) != seen)
		return 0;
	end_other(key, old);
	return !bpf_map_update_elem(&flows, key, value, BPF_ANY);
}

/*
 * allocate_port finds a port such that the backend's answers to it are nobody
 * else's, and takes it by inserting the reply half. A range of its own for each
 * backend, since the backend is part of the tuple: with n of N ports in use, a
 * probe fails with probability n/N. The second half of the probes also takes the
 * ports of flows that are idle and not established. A range no larger than the
 * number of probes is gone through in order.
 */
static __noinline int allocate_port(struct tuple *key, struct flow *value, __be16 *port)
{
	__u32 start = bpf_get_prandom_u32() % port_count;

	for (int i = 0; i < 2 * PORT_PROBES; i++) {
		__u32 n = port_count <= PORT_PROBES ? start + i : bpf_get_prandom_u32();

		key->dport = bpf_htons(port_min + n % port_count);
		if (key->dport == tunnel_port)
			continue;
		if (claim(key, value, i >= PORT_PROBES)) {
			*port = key->dport;
			return 0;
		}
	}
	return -1;
}

/*
 * create_flow makes both halves, the reply's first: an answer can only come
 * after the request has left. t is the packet's tuple, and f is set to its mapping.
 */
static __noinline enum verdict create_flow(const struct packet *p, const struct tuple *t,
					   const struct backend *b, struct flow *f)
{
	struct tuple key;
	struct flow reply;

	f->src = b->source;
	f->dst = b->addr;
	f->sport = 0;
	f->dport = b->port;
	f->state = p->tuple.proto == IPPROTO_UDP ? FLOW_UDP
		   : is_new_syn(p)		 ? FLOW_NEW
						 : FLOW_CLOSED;
	f->flags = 0;
	f->backend = p->backend;
	f->seen = now_tick();
	f->renewed = f->seen;
	other_key(t, f, &key);
	other_value(t, f, &reply);
	if (allocate_port(&key, &reply, &f->sport))
		return VERDICT_DROP_PORTS_EXHAUSTED;
	if (bpf_map_update_elem(&flows, t, f, BPF_ANY)) {
		bpf_map_delete_elem(&flows, &key);
		return VERDICT_DROP_FLOW_TABLE;
	}
	return VERDICT_FORWARD;
}
