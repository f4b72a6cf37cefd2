// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * witness: the pod's own socket says whether it has the connection that a packet is
 * of, where our tables do not: the flow was evicted, or the tables are new.
 */
#pragma once
#include "node_flow.h"

#define SOCKET_NONE 0 /* beside BPF_TCP_* */

/* lookup_socket returns the state of the TCP socket with the tuple, or of a listener. */
static __noinline int lookup_socket(context *ctx, const struct tuple *key)
{
	struct pod *pod = bpf_map_lookup_elem(&pods, &key->dst);
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;
	__u32 size;
	int state;

	if (!pod || pod->netns == POD_NETNS_UNKNOWN)
		return SOCKET_NONE;
	if (is_mapped(&key->dst)) {
		t.ipv4.saddr = key->src.words[3];
		t.ipv4.daddr = key->dst.words[3];
		t.ipv4.sport = key->sport;
		t.ipv4.dport = key->dport;
		size = sizeof(t.ipv4);
	} else {
		__builtin_memcpy(t.ipv6.saddr, &key->src, sizeof(key->src));
		__builtin_memcpy(t.ipv6.daddr, &key->dst, sizeof(key->dst));
		t.ipv6.sport = key->sport;
		t.ipv6.dport = key->dport;
		size = sizeof(t.ipv6);
	}
	sk = bpf_skc_lookup_tcp(ctx, &t, size, (__u32)pod->netns, 0);
	if (!sk)
		return SOCKET_NONE;
	state = sk->state;
	bpf_sk_release(sk);
	return state;
}

/* is_connected is true of a socket that has, or had, a connection. */
static __always_inline int is_connected(int state)
{
	return state != SOCKET_NONE && state != BPF_TCP_LISTEN && state != BPF_TCP_CLOSE &&
	       state != BPF_TCP_NEW_SYN_RECV;
}

/* is_held is true of a socket that keeps others from its tuple; a SYN may end TIME_WAIT. */
static __always_inline int is_held(int state)
{
	return is_connected(state) && state != BPF_TCP_TIME_WAIT;
}
