// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * encap: puts the packet, as it is, into a tunnel to the ingress node of its backend.
 * The outer header says what routers have to know: don't fragment, the inner traffic
 * class and ECN (RFC 6040, normal mode), and in the UDP source port which flow it is. That
 * also says which version of the row it is by, see chain.h.
 * No UDP checksum, also in IPv6 (RFC 6935): the inner packet has its own, and who
 * receives it compares addresses and flow.
 */
#pragma once
#include "forward.h"
#include "geneve.h"
#include "reject.h"
#include "slot.h"

static __always_inline void write_outer4(struct iphdr *ip, const struct packet *p,
					 const struct tunnel *t, __u32 len)
{
	__u64 sum = bpf_htons(0x4500 | p->tos) + (__u64)bpf_htons(len) + bpf_htons(IP_DF) +
		    bpf_htons(TUNNEL_TTL << 8 | IPPROTO_UDP) + t->source.words[3] +
		    t->addr.words[3];

	*ip = (struct iphdr){
		.version = 4,
		.ihl = sizeof(*ip) / 4,
		.tos = p->tos,
		.tot_len = bpf_htons(len),
		.frag_off = bpf_htons(IP_DF),
		.ttl = TUNNEL_TTL,
		.protocol = IPPROTO_UDP,
		.saddr = t->source.words[3],
		.daddr = t->addr.words[3],
		.check = ~csum_fold(sum),
	};
}

static __always_inline void write_outer6(struct ipv6hdr *ip, const struct packet *p,
					 const struct tunnel *t, __u32 len)
{
	*(__be32 *)ip = bpf_htonl(6U << 28 | (__u32)p->tos << 20 | (p->hash & 0xfffff));
	ip->payload_len = bpf_htons(len - sizeof(*ip));
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = TUNNEL_TTL;
	__builtin_memcpy(&ip->saddr, &t->source, sizeof(t->source));
	__builtin_memcpy(&ip->daddr, &t->addr, sizeof(t->addr));
}

/* write_geneve writes what stands between the outer IP header and an inner packet of len bytes. */
static __always_inline void write_geneve(struct tunnel_headers *h, const struct packet *p,
					 const struct backend *b, __u32 option, __u32 len)
{
	struct tunnel_tail *tail = (void *)(h + 1) + 4 * option - sizeof(*tail);

	h->udp.source = bpf_htons(TUNNEL_PORT_FIRST + (flow_mark(p) ^ p->version));
	h->udp.dest = tunnel_port;
	h->udp.len = bpf_htons(sizeof(*h) + 4 * option + len);
	h->udp.check = 0;
	h->opt_len = option + 1;
	h->flags = GENEVE_CRITICAL;
	h->proto = option == OPTION_LEN4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	h->vni = 0;
	h->option_class = bpf_htons(TUNNEL_CLASS);
	h->option_type = TUNNEL_TYPE;
	h->option_len = option;
	if (option == OPTION_LEN4)
		*(__be32 *)(h + 1) = b->addr.words[3];
	else
		__builtin_memcpy(h + 1, &b->addr, sizeof(b->addr));
	tail->port = b->port;
	tail->hop = p->asked;
	tail->flags = p->accept ? TUNNEL_ACCEPT : 0;
}

/* write_headers writes all that stands before the inner packet of len bytes. */
static __always_inline int write_headers(context *ctx, const struct packet *p,
					 const struct tunnel *t, const struct backend *b,
					 __u8 outer, __u8 inner, __u32 len)
{
	__u32 option = inner == 4 ? OPTION_LEN4 : OPTION_LEN6, all = tunnel_len(outer, inner);
	void *ip = at(ctx, p->l3, all);

	if (!ip)
		return -1;
	if (outer == 4) {
		write_outer4(ip, p, t, all + len);
		write_geneve(ip + sizeof(struct iphdr), p, b, option, len);
	} else {
		write_outer6(ip, p, t, all + len);
		write_geneve(ip + sizeof(struct ipv6hdr), p, b, option, len);
	}
	return 0;
}

/* keep_macs makes room where the kernel sends the packet, and needs the MACs it came with. */
static __always_inline int keep_macs(context *ctx, struct packet *p, __u32 overhead)
{
	struct ethhdr *old = at(ctx, 0, sizeof(*old)), *eth;
	__u8 macs[2 * ETH_ALEN];

	if (!old)
		return -1;
	__builtin_memcpy(macs, old, sizeof(macs));
	if (bpf_xdp_adjust_head(ctx, p->l3 - (int)sizeof(*eth) - (int)overhead))
		return -1;
	p->l3 = sizeof(*eth);
	eth = at(ctx, 0, sizeof(*eth));
	if (!eth)
		return -1;
	__builtin_memcpy(eth, macs, sizeof(macs));
	eth->h_proto = p->family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	return 0;
}

/* grow makes room for overhead bytes before the packet, and leaves p->l3 where they begin. */
static __always_inline int grow(context *ctx, struct packet *p, __u32 overhead, enum route r)
{
	int header = sizeof(struct ethhdr) + (p->hop.vlan ? sizeof(struct vlan_tag) : 0);

	if (r == ROUTE_KERNEL)
		return keep_macs(ctx, p, overhead);
	if (bpf_xdp_adjust_head(ctx, p->l3 - header - (int)overhead))
		return -1;
	p->l3 = header;
	return 0;
}

static __always_inline enum verdict reject_encap(context *ctx, struct packet *p, __u16 mtu)
{
	if (is_icmp(p)) /* no errors about errors */
		return VERDICT_DROP_NO_ROUTE;
	return reject_too_big(ctx, p, mtu, &p->tuple.dst);
}

/*
 * encap sends the packet to the node of the backend, through a tunnel. A packet that does not fit
 * is told so even if it may be fragmented: fragments of the tunnel would have to be
 * reassembled, and senders that may not fragment are the rule.
 */
static __always_inline enum verdict encap(context *ctx, struct packet *p, const struct backend *b,
					  __u32 tunnel)
{
	struct tunnel *t = tunnel_at(tunnel);
	__u32 len = p->len, overhead;
	__u8 inner = p->family, outer;
	enum route r;
	int err;

	if (!t)
		return VERDICT_DROP_TABLE;
	if (!t->source.halves[0] && !t->source.halves[1]) /* no route to it so far */
		return VERDICT_DROP_NO_ROUTE;
	if (p->ttl <= 1)
		return is_icmp(p) ? VERDICT_DROP_ICMP : reject_ttl(ctx, p, &p->tuple.dst);
	outer = is_mapped(&t->addr) ? 4 : 6;
	overhead = tunnel_len(outer, inner);
	p->hop = t->nexthop;
	p->len = len + overhead;
	p->family = outer;
	p->dont_fragment = 1;
	r = route(ctx, p, &t->source, &t->addr);
	p->len = len; /* counted as the client sent it */
	if (r == ROUTE_TOO_BIG) {
		p->family = inner;
		return reject_encap(ctx, p, p->hop.mtu - overhead);
	}
	if (r == ROUTE_NONE)
		return VERDICT_DROP_NO_ROUTE;
	if (grow(ctx, p, overhead, r))
		return VERDICT_ABORT;
	if (outer == 4 && inner == 4)
		err = write_headers(ctx, p, t, b, 4, 4, len);
	else if (outer == 4)
		err = write_headers(ctx, p, t, b, 4, 6, len);
	else if (inner == 4)
		err = write_headers(ctx, p, t, b, 6, 4, len);
	else
		err = write_headers(ctx, p, t, b, 6, 6, len);
	if (err)
		return VERDICT_ABORT;
	if (r == ROUTE_KERNEL)
		return p->bounced ? VERDICT_ENCAP_NEXT_KERNEL : VERDICT_ENCAP_KERNEL;
	if (transmit(ctx, p))
		return VERDICT_ABORT;
	return p->bounced ? VERDICT_ENCAP_NEXT : VERDICT_ENCAP;
}

/* encap_chosen sends it to that of p->backend, an error that is about a flow there. */
__noinline enum verdict encap_chosen(context *ctx, struct packet *p)
{
	struct backend *b = p ? backend_at(p->backend) : NULL;
	__u32 tunnel;

	if (!b)
		return VERDICT_DROP_TABLE;
	tunnel = tunnel_index(b);
	return tunnel ? encap(ctx, p, b, tunnel) : VERDICT_DROP_ICMP;
}
