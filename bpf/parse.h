// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * parse: Ethernet with up to two VLAN tags, IPv4 with options, IPv6 with a
 * bounded chain of extension headers, and the ports of TCP and UDP.
 *
 * Offsets count from the start of the frame. The headers are read in place and
 * nothing is written, so that any doubt can still end in PASS.
 */
#pragma once
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

#define VLAN_TAGS_MAX  2
#define EXTENSIONS_MAX 6
#define L4_MAX	       384 /* a transport header further into the frame counts as malformed */
#define OFFSET_MASK    0x1ff

#define IP_DF	  0x4000
#define IP_MF	  0x2000
#define IP_OFFSET 0x1fff
#define TCP_FIN	  0x01
#define TCP_SYN	  0x02
#define TCP_RST	  0x04
#define TCP_ACK	  0x10

/* RFC 792 and RFC 4443; linux/icmp.h would need the C library's headers. */
#define ICMP_ECHO_REPLY		       0
#define ICMP_UNREACHABLE	       3
#define ICMP_ECHO_REQUEST	       8
#define ICMP_TIME_EXCEEDED	       11
#define ICMP_PARAMETER_PROBLEM	       12
#define ICMP_CODE_PORT		       3
#define ICMP_CODE_FRAGMENTATION_NEEDED 4
#define ICMP6_UNREACHABLE	       1
#define ICMP6_TOO_BIG		       2
#define ICMP6_TIME_EXCEEDED	       3
#define ICMP6_PARAMETER_PROBLEM	       4
#define ICMP6_ECHO_REQUEST	       128
#define ICMP6_ECHO_REPLY	       129
#define ICMP6_CODE_PORT		       4

/* Both families' ICMP. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest; /* the MTU, in an error that tells one */
};

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

struct ipv6_fragment {
	__u8 next;
	__u8 reserved;
	__be16 offset; /* offset in units of 8 bytes << 3, more fragments in bit 0 */
	__be32 id;
};

enum fragment_part {
	FRAGMENT_NONE,
	FRAGMENT_FIRST,
	FRAGMENT_LATER,
};

struct packet {
	struct tuple tuple;
	__u32 len; /* bytes of IP packet */
	union {
		__be32 fragment_id; /* of a fragment */
		__u32 tcp_ack; /* else: what is acknowledged; for SYN-ACK, what will have to be */
	};
	__u16 l3;    /* offset of the IP header */
	__u16 l4;    /* offset of what follows it and its extensions */
	__u8 family; /* 4 or 6 */
	__u8 ttl;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 fragment; /* enum fragment_part */
	__u8 dont_fragment;
	__u8 malformed;
	__u8 action;	    /* XDP_*, where the verdict leaves it open */
	__u32 backend;	    /* its index, where one was chosen */
	struct nexthop hop; /* all zero until known */
};

/* at returns the size bytes at offset off, NULL if the frame has them not. */
static __always_inline void *at(struct xdp_md *ctx, __u32 off, __u32 size)
{
	void *end = (void *)(long)ctx->data_end;
	void *p = (void *)(long)ctx->data;

	asm volatile("%0 &= %1" : "+r"(off) : "i"(OFFSET_MASK));
	p += off;
	return p + size > end ? NULL : p;
}

static __always_inline void set_addr4(struct addr *a, __be32 ip)
{
	a->halves[0] = 0;
	a->words[2] = bpf_htonl(0xffff);
	a->words[3] = ip;
}

static __always_inline void set_addr6(struct addr *a, const void *ip)
{
	__builtin_memcpy(a, ip, sizeof(*a));
}

static __always_inline int same_addr(const struct addr *a, const struct addr *b)
{
	return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1];
}

/* RFC 4291, 2.5.5.2: no such address is on the wire, and in our tables it is an IPv4 one. */
static __always_inline int is_mapped(const struct addr *a)
{
	return !a->halves[0] && a->words[2] == bpf_htonl(0xffff);
}

/* parse_l2 returns the ethertype, 0 if there is none that we know. */
static __always_inline __be16 parse_l2(struct xdp_md *ctx, struct packet *p)
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
static __always_inline int fits(struct xdp_md *ctx, struct packet *p)
{
	__u32 have = ctx->data_end - ctx->data;

	if (p->l3 + p->len <= have)
		return 1;
	return p->l3 + p->len <= bpf_xdp_get_buff_len(ctx);
}

static __always_inline int parse_ipv4(struct xdp_md *ctx, struct packet *p)
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
static __always_inline void parse_extensions(struct xdp_md *ctx, struct packet *p, __u8 next)
{
	__u32 off = p->l4;

	for (int i = 0; i < EXTENSIONS_MAX && is_extension(next); i++) {
		struct ipv6_fragment *h = at(ctx, off, sizeof(*h));

		if (!h || off > L4_MAX) {
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
	p->malformed |= off > L4_MAX;
	p->l4 = off;
}

static __always_inline int parse_ipv6(struct xdp_md *ctx, struct packet *p)
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
static __always_inline void parse_l4(struct xdp_md *ctx, struct packet *p)
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
static __always_inline int is_group_frame(struct xdp_md *ctx)
{
	__u8 *dst = at(ctx, 0, ETH_ALEN);

	return !dst || dst[0] & 1;
}

/* parse returns 0, or -1 where this is no IP packet. */
static __always_inline int parse(struct xdp_md *ctx, struct packet *p)
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
