// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * flow_hash: version 1 of the flow hash, a protocol between nodes. Package
 * maps/flowhash specifies it and holds the vectors that both must meet.
 */
#pragma once
#include "parse.h"

#define MULTIPLIER 0xd6e8feb86659fd93ULL

static __always_inline __u64 mix(__u64 x)
{
	x ^= x >> 32;
	x *= MULTIPLIER;
	x ^= x >> 32;
	x *= MULTIPLIER;
	return x ^ x >> 32;
}

/*
 * flow_hash gives 64 bits, of which the upper half is the flow hash. last is the word
 * of ports and protocol, 0 where the client's address alone decides.
 */
static __always_inline __u64 flow_hash(const struct tuple *t, __u8 family, __u64 last)
{
	const struct addr *client = &t->src, *vip = &t->dst;
	__u64 h = seed[0];

	if (family == 4) {
		h = mix(h ^ ((__u64)bpf_ntohl(client->words[3]) << 32 | bpf_ntohl(vip->words[3])));
	} else {
		h = mix(h ^ bpf_be64_to_cpu(client->halves[0]));
		h = mix(h ^ bpf_be64_to_cpu(client->halves[1]));
		h = mix(h ^ bpf_be64_to_cpu(vip->halves[0]));
		h = mix(h ^ bpf_be64_to_cpu(vip->halves[1]));
	}
	return mix(h ^ last ^ seed[1]);
}
