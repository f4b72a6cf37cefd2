// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The maps of an ingress node, and the switches that the loader sets. Sizes are set
 * at load. The XDP and the tc programs share all of them.
 */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "node_types.h"

const volatile __be16 tunnel_port;				      /* of UDP */
const volatile __u32 timeouts[FLOW_STATES] = {28, 10058, 56, 5, 168}; /* ticks */

/* node_events: what happened to flows, beside the verdicts on their packets. */
enum node_event {
	EVENT_COLLISION, /* a flow got another client port, for its own was another flow's */
	EVENT_WITNESS,	 /* a flow was found again by the pod's socket */
	EVENT_FULL,	 /* node_flows took no more, so a flow stayed among the young ones */
	EVENT_MSS,	 /* the MSS of a SYN-ACK was lowered */
	EVENTS,
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct addr);
	__type(value, struct member);
} members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct addr);
	__type(value, struct pod);
} pods SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 18);
	__type(key, struct tuple);
	__type(value, struct node_flow);
} node_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct tuple);
	__type(value, struct node_flow);
} young_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, struct collision_key);
	__type(value, struct collision);
} collisions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} node_settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, __u32);
	__type(value, struct counter);
} verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENTS);
	__type(key, __u32);
	__type(value, __u64);
} node_events SEC(".maps");

static __noinline void count_event(enum node_event event)
{
	__u32 key = event;
	__u64 *n = bpf_map_lookup_elem(&node_events, &key);

	if (n)
		++*n;
}

static __always_inline void count_packet(enum verdict v, __u32 bytes)
{
	__u32 key = v;
	struct counter *c = bpf_map_lookup_elem(&verdicts, &key);

	if (c) {
		c->packets++;
		c->bytes += bytes;
	}
}
