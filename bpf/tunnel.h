// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * tunnel: what comes back from ingress nodes. A bounce is a packet that we sent and
 * that the node's pod has no flow for; freed from its headers it is asked about
 * again, further down its chain. Answers to probes are for the agent's socket.
 */
#pragma once
#include "chain.h"
#include "geneve.h"
#include "member.h"
#include "parse.h"
#include "tick.h"

/* is_own_tunnel: the packet is a tunnel packet for this node. */
static __always_inline int is_own_tunnel(const struct packet *p)
{
	return p->tuple.proto == IPPROTO_UDP && p->tuple.dport == tunnel_port && tunnel_port &&
	       p->fragment == FRAGMENT_NONE && is_member(&p->tuple.dst, MEMBER_SELF);
}

static __always_inline int over_budget(void)
{
	__u32 zero = 0, tick = now_tick();
	struct budget *b = bpf_map_lookup_elem(&bounce_budgets, &zero);

	if (!b)
		return 1;
	if (b->tick != tick) {
		b->tick = tick;
		b->sent = 0;
	}
	return b->sent++ >= bounce_rate;
}

/* parse_tail checks the headers, and reads the tail of the option. */
static __always_inline int parse_tail(context *ctx, const struct packet *p,
				      struct tunnel_tail *tail)
{
	struct tunnel_headers *h = at(ctx, p->l4, sizeof(*h) + 4 * OPTION_LEN4);
	__u32 len = OPTION_LEN4, payload = p->l3 + p->len - p->l4;
	int probe;

	if (!h || h->flags != GENEVE_CRITICAL || h->vni ||
	    h->option_class != bpf_htons(TUNNEL_CLASS) || h->option_type != TUNNEL_TYPE ||
	    h->udp.len != bpf_htons(payload))
		return -1;
	if (h->proto == bpf_htons(ETH_P_IPV6))
		len = OPTION_LEN6;
	else if (h->proto != bpf_htons(ETH_P_IP))
		return -1;
	if (h->option_len != len || h->opt_len != len + 1 || sizeof(*h) + 4 * len > payload)
		return -1;
	/* None but a probe's answer, which the kernel verifies, has a checksum. */
	probe = sizeof(*h) + 4 * len == payload;
	if (h->udp.check && !probe)
		return -1;
	h = at(ctx, p->l4 + 4 * (len - OPTION_LEN4), sizeof(*h) + 4 * OPTION_LEN4);
	if (!h)
		return -1;
	*tail = *(struct tunnel_tail *)((void *)(h + 1) + sizeof(__be32));
	if (tail->flags != (probe ? TUNNEL_PROBE | TUNNEL_BOUNCE : TUNNEL_BOUNCE))
		return -1;
	return len;
}

/* strip takes everything between the Ethernet header and the inner packet away. */
static __always_inline int strip(context *ctx, const struct packet *p, int len)
{
	struct ethhdr *old = at(ctx, 0, sizeof(*old)), *eth;
	__u8 macs[2 * ETH_ALEN];

	if (!old)
		return -1;
	__builtin_memcpy(macs, old, sizeof(macs));
	if (bpf_xdp_adjust_head(ctx,
				p->l4 + sizeof(struct tunnel_headers) + 4 * len - sizeof(*eth)))
		return -1;
	eth = at(ctx, 0, sizeof(*eth));
	if (!eth)
		return -1;
	__builtin_memcpy(eth, macs, sizeof(macs));
	eth->h_proto = len == OPTION_LEN4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	return 0;
}

/*
 * unwrap leaves a bounced packet as the client sent it, with p->bounced, p->asked and
 * p->version (still with the hash in it) set, and returns VERDICT_ENCAP_NEXT; or what becomes of
 * the packet otherwise.
 */
__noinline enum verdict unwrap(context *ctx, struct packet *p)
{
	struct tunnel_tail tail;
	__u16 version;
	__u32 inner;
	int len;

	if (!p)
		return VERDICT_ABORT;
	if (!is_member(&p->tuple.src, MEMBER_BACKEND))
		return VERDICT_DROP_TUNNEL_SOURCE;
	len = parse_tail(ctx, p, &tail);
	if (len < 0)
		return VERDICT_DROP_TUNNEL;
	if (tail.flags & TUNNEL_PROBE)
		return VERDICT_PASS_PROBE;
	if (tail.hop >= OWNERS_MAX && tail.hop != HOP_LEARNED)
		return VERDICT_DROP_TUNNEL;
	if (over_budget())
		return VERDICT_DROP_BOUNCE_RATE;
	inner = p->l3 + p->len - p->l4 - sizeof(struct tunnel_headers) - 4 * len;
	version = bpf_ntohs(p->tuple.sport) - TUNNEL_PORT_FIRST;
	if (strip(ctx, p, len))
		return VERDICT_ABORT;
	__builtin_memset(p, 0, sizeof(*p));
	if (parse(ctx, p) || p->malformed || p->len != inner ||
	    is_new_syn(p)) /* any pod takes those */
		return VERDICT_DROP_TUNNEL;
	p->bounced = 1;
	p->asked = tail.hop;
	p->version = version;
	return VERDICT_ENCAP_NEXT;
}
