// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * parse: Ethernet with up to two VLAN tags, IPv4 with options, IPv6 with a
 * bounded chain of extension headers, and the ports of TCP and UDP.
 *
 * Offsets count from the start of the frame. The headers are read in place and
 * nothing is written, so that any doubt can still end in PASS.
 */
#pragma once
#include "packet.h"

/* parse_l2 returns the ethertype, 0 if there is none that we know. */
static __always_inline __be16 parse_l2(context *ctx, struct packet *p)
{
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));
	__be16 proto;

	if (!eth)
		return 0;
	proto = eth->h_proto;
	p->l3 = sizeof(*eth);
#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		struct vlan_tag *tag;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		tag = at(ctx, p->l3, sizeof(*tag));
		if (!tag)
			return 0;
		proto = tag->proto;
		p->l3 += sizeof(*tag);
	}
	return proto;
}

/* fits says whether the frame holds the whole IP packet; padding may follow it. */
static __always_inline int fits(context *ctx, struct packet *p)
{
	__u32 have = ctx->data_end - ctx->data;

	if (p->l3 + p->len <= have)
		return 1;
	return p->l3 + p->len <= frame_len(ctx);
}

static __always_inline int parse_ipv4(context *ctx, struct packet *p)
{
	struct iphdr *ip = at(ctx, p->l3, sizeof(*ip));
	__u32 header;
	__u16 frag;

	if (!ip || ip->version != 4)
		return -1;
	p->family = 4;
	set_addr4(&p->tuple.src, ip->saddr);
	set_addr4(&p->tuple.dst, ip->daddr);
	p->tuple.proto = ip->protocol;
	p->ttl = ip->ttl;
	p->tos = ip->tos;
	p->len = bpf_ntohs(ip->tot_len);
	header = ip->ihl * 4;
	p->l4 = p->l3 + header;
	frag = bpf_ntohs(ip->frag_off);
	p->dont_fragment = !!(frag & IP_DF);
	if (frag & IP_OFFSET)
		p->fragment = FRAGMENT_LATER;
	else if (frag & IP_MF)
		p->fragment = FRAGMENT_FIRST;
	p->fragment_id = ip->id;
	p->malformed = header < sizeof(*ip) || p->len < header || !fits(ctx, p);
	return 0;
}

static __always_inline int is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_FRAGMENT;
}

/*
 * RFC 8200, 4: skips the headers that may stand before the transport. After a
 * later fragment's header comes data, so it ends the chain.
 */
static __always_inline void parse_extensions(context *ctx, struct packet *p, __u8 next)
{
	__u32 off = p->l4;

	for (int i = 0; i < EXTENSIONS_MAX && is_extension(next); i++) {
		struct ipv6_fragment *h = at(ctx, off, sizeof(*h));

		if (!h || off > L4_MAX || off + sizeof(*h) > p->l3 + p->len) {
			p->malformed = 1;
			return;
		}
		if (next == IPPROTO_FRAGMENT) {
			next = h->next;
			off += sizeof(*h);
			p->fragment_id = h->id;
			if (h->offset & bpf_htons(0xfff8)) {
				p->fragment = FRAGMENT_LATER;
				break;
			}
			if (h->offset & bpf_htons(1))
				p->fragment = FRAGMENT_FIRST;
		} else {
			next = h->next;
			/* the second byte is the length in units of 8 bytes, the first not counted
			 */
			off += (h->reserved + 1) * 8;
		}
	}
	p->tuple.proto = next;
	p->malformed |= is_extension(next) && p->fragment != FRAGMENT_LATER;
	p->malformed |= off > L4_MAX || off > p->l3 + p->len;
	p->l4 = off;
}

static __always_inline int parse_ipv6(context *ctx, struct packet *p)
{
	struct ipv6hdr *ip = at(ctx, p->l3, sizeof(*ip));

	if (!ip || ip->version != 6)
		return -1;
	p->family = 6;
	set_addr6(&p->tuple.src, &ip->saddr);
	set_addr6(&p->tuple.dst, &ip->daddr);
	if (is_mapped(&p->tuple.dst))
		p->tuple.dst.halves[1] = 0; /* nobody's */
	p->ttl = ip->hop_limit;
	p->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	p->len = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	p->dont_fragment = 1;
	p->l4 = p->l3 + sizeof(*ip);
	p->malformed = !fits(ctx, p);
	if (is_extension(ip->nexthdr))
		parse_extensions(ctx, p, ip->nexthdr);
	else
		p->tuple.proto = ip->nexthdr;
	return 0;
}

static __always_inline int is_icmp(const struct packet *p)
{
	return p->tuple.proto == (p->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/* parse_l4 reads ports, flags and types. Ports of later fragments stay 0. */
static __always_inline void parse_l4(context *ctx, struct packet *p)
{
	__u32 payload = p->l3 + p->len - p->l4;

	if (p->malformed || p->fragment == FRAGMENT_LATER)
		return;
	if (p->tuple.proto == IPPROTO_TCP) {
		struct tcphdr *tcp = at(ctx, p->l4, sizeof(*tcp));

		if (!tcp || (__s32)payload < (__s32)sizeof(*tcp)) {
			p->malformed = 1;
			return;
		}
		p->tuple.sport = tcp->source;
		p->tuple.dport = tcp->dest;
		p->tcp_flags = ((__u8 *)tcp)[13];
		if (p->fragment == FRAGMENT_NONE)
			p->tcp_ack = p->tcp_flags & TCP_SYN ? bpf_ntohl(tcp->seq) + 1
							    : bpf_ntohl(tcp->ack_seq);
	} else if (p->tuple.proto == IPPROTO_UDP) {
		struct udphdr *udp = at(ctx, p->l4, sizeof(*udp));

		if (!udp || (__s32)payload < (__s32)sizeof(*udp)) {
			p->malformed = 1;
			return;
		}
		p->tuple.sport = udp->source;
		p->tuple.dport = udp->dest;
	} else if (is_icmp(p)) {
		struct icmp_header *icmp = at(ctx, p->l4, sizeof(*icmp));

		if (!icmp || (__s32)payload < (__s32)sizeof(*icmp)) {
			p->malformed = 1;
			return;
		}
		p->icmp_type = icmp->type;
	}
}

/* A frame to a group is nobody's in particular to forward or to answer (RFC 1122, 3.2.2). */
static __always_inline int is_group_frame(context *ctx)
{
	__u8 *dst = at(ctx, 0, ETH_ALEN);

	return !dst || dst[0] & 1;
}

/* parse returns 0, or -1 where this is no IP packet. */
static __always_inline int parse(context *ctx, struct packet *p)
{
	__be16 proto = parse_l2(ctx, p);
	int err = -1;

	if (proto == bpf_htons(ETH_P_IP))
		err = parse_ipv4(ctx, p);
	else if (proto == bpf_htons(ETH_P_IPV6))
		err = parse_ipv6(ctx, p);
	if (!err)
		parse_l4(ctx, p);
	return err;
}
