// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * witness: the pod's own socket says whether it has the connection that a packet is
 * of, where our tables do not: the flow was evicted, or the tables are new.
 */
#pragma once
#include "node_flow.h"

#define SOCKET_NONE 0 /* beside BPF_TCP_* */

/* Further from what the socket expects a segment is another connection's. */
#define SEQUENCE_DISTANCE (1U << 26)
/* So is a RST, which is at the end of what is on its way, or forged. */
#define RESET_DISTANCE (1U << 20)

/* What is read of the kernel's sockets; the loader finds the offsets in the kernel's BTF. */
struct tcp_sock {
	__u32 rcv_nxt;
	__u32 snd_nxt;
} __attribute__((preserve_access_index));

static __always_inline int is_near(__u32 a, __u32 b, __u32 distance)
{
	return a - b + distance < 2 * distance;
}

/*
 * expects says whether the socket can be that of the segment's connection: the client
 * may use its port for a connection straight to the pod as well. Only a full socket
 * tells; one in TIME_WAIT harms nobody.
 */
static __always_inline int expects(void *sk, const struct packet *p, __u32 seq)
{
	__u32 distance = p->tcp_flags & TCP_RST ? RESET_DISTANCE : SEQUENCE_DISTANCE;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	if (!tp || p->fragment != FRAGMENT_NONE)
		return 1;
	return is_near(seq, tp->rcv_nxt, distance) &&
	       (!(p->tcp_flags & TCP_ACK) || is_near(p->tcp_ack, tp->snd_nxt, SEQUENCE_DISTANCE));
}

static __always_inline __u32 sequence(context *ctx, const struct packet *p)
{
	struct tcphdr *tcp = at(ctx, p->l4, sizeof(*tcp));

	return tcp ? bpf_ntohl(tcp->seq) : 0;
}

/* has_witness: the pod's sockets can be asked. */
static __always_inline int has_witness(const struct tuple *key)
{
	struct pod *pod = bpf_map_lookup_elem(&pods, &key->dst);

	return pod && pod->netns != POD_NETNS_UNKNOWN;
}

/*
 * lookup_socket returns the state of the TCP socket with the tuple, or of a listener.
 * With a packet it has to be one that expects the packet.
 */
static __noinline int lookup_socket(context *ctx, const struct tuple *key, const struct packet *p)
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
	state = p && !expects(sk, p, sequence(ctx, p)) ? SOCKET_NONE : sk->state;
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
