// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * reject: turns the packet into the ICMP error about it (RFC 792, RFC 4443) and
 * sends it back the way it came. Rate-limited, and never about what must not be
 * answered (RFC 1122, 3.2.2): errors, later fragments, senders that are no host.
 */
#pragma once
#include "checksum.h"
#include "parse.h"
#include "tick.h"

#define ERROR_TTL 64
#define L2_MAX	  (ETH_HLEN + VLAN_TAGS_MAX * 4)

/* unicast says whether the address can be a client's: of one host, on more than one link. */
static __always_inline int unicast(const struct packet *p, const struct addr *a)
{
	__u32 ip = bpf_ntohl(a->words[3]);

	if (p->family == 4)
		return ip >> 24 != 0 && ip >> 24 != 127 && ip >> 16 != 0xa9fe && ip >> 28 < 0xe;
	if (a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80)
		return 0;
	return a->bytes[0] != 0xff && (a->halves[0] || a->words[2] || ip > 1) && !is_mapped(a);
}

/* icmp_sender counts what this CPU sends in this tick; NULL: no more of it. */
static __always_inline struct icmp_sender *icmp_sender(enum icmp_budget budget)
{
	__u32 zero = 0, tick = now_tick();
	struct icmp_sender *s = bpf_map_lookup_elem(&icmp_senders, &zero);

	if (!s)
		return NULL;
	if (s->tick != tick) {
		s->tick = tick;
		__builtin_memset(s->sent, 0, sizeof(s->sent));
	}
	return s->sent[budget]++ < icmp_rate ? s : NULL;
}

static __always_inline void write_ipv4(struct iphdr *ip, const struct packet *p,
				       const struct icmp_sender *s, __u32 len)
{
	*ip = (struct iphdr){
		.version = 4,
		.ihl = sizeof(*ip) / 4,
		.tot_len = bpf_htons(len),
		.frag_off = bpf_htons(IP_DF),
		.ttl = ERROR_TTL,
		.protocol = IPPROTO_ICMP,
		.saddr = s->from.words[3],
		.daddr = p->tuple.src.words[3],
	};
	ip->check = ~csum_fold((__u32)bpf_csum_diff(0, 0, (__be32 *)ip, sizeof(*ip), 0));
}

static __always_inline void write_ipv6(struct ipv6hdr *ip, const struct packet *p,
				       const struct icmp_sender *s, __u32 payload)
{
	*ip = (struct ipv6hdr){
		.version = 6,
		.payload_len = bpf_htons(payload),
		.nexthdr = IPPROTO_ICMPV6,
		.hop_limit = ERROR_TTL,
	};
	__builtin_memcpy(&ip->saddr, &s->from, sizeof(s->from));
	__builtin_memcpy(&ip->daddr, &p->tuple.src, sizeof(p->tuple.src));
}

/* pseudo_header sums what ICMPv6 adds to its checksum (RFC 8200, 8.1). */
static __always_inline __u64 pseudo_header(const struct packet *p, const struct icmp_sender *s,
					   __u32 payload)
{
	__u64 sum = bpf_htonl(payload) + (__u64)bpf_htonl(IPPROTO_ICMPV6);

	for (int i = 0; i < 4; i++)
		sum += (__u64)s->from.words[i] + p->tuple.src.words[i];
	return sum;
}

/* make_room leaves l2 bytes, an IP header, an ICMP header and quote bytes of the packet. */
static __always_inline int make_room(context *ctx, const struct packet *p, __u32 quote)
{
	struct ethhdr *eth;
	__u8 l2[L2_MAX];
	int header = sizeof(struct icmp_header) +
		     (p->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	int tail = p->l3 + quote - bpf_xdp_get_buff_len(ctx);
	__u8 *from = at(ctx, 0, sizeof(l2)), *to;

	if (!from)
		return -1;
	__builtin_memcpy(l2, from, sizeof(l2));
	if (tail && bpf_xdp_adjust_tail(ctx, tail))
		return -1;
	if (bpf_xdp_adjust_head(ctx, -header))
		return -1;
	eth = at(ctx, 0, sizeof(l2));
	if (!eth)
		return -1;
	/* what is beyond the old Ethernet header is overwritten by the IP header next */
	to = (__u8 *)eth;
	__builtin_memcpy(to + ETH_ALEN, l2, ETH_ALEN);
	__builtin_memcpy(to, l2 + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(to + 2 * ETH_ALEN, l2 + 2 * ETH_ALEN, sizeof(l2) - 2 * ETH_ALEN);
	return 0;
}

/* quote copies the packet's beginning and returns the message's length, -1 if it can't. */
static __always_inline int quote(context *ctx, const struct packet *p, struct icmp_sender *s)
{
	__u32 len = p->len < QUOTE_MAX ? p->len : QUOTE_MAX;

	__builtin_memset(s->quote, 0, sizeof(s->quote));
	/* one bound after the other, for verifiers that can't follow a range check */
	barrier_var(len);
	if (len < sizeof(struct iphdr))
		return -1;
	barrier_var(len);
	if (len > QUOTE_MAX || bpf_xdp_load_bytes(ctx, p->l3, s->quote, len))
		return -1;
	return sizeof(struct icmp_header) + len;
}

/* send_icmp_error sends s's message about the packet in the packet's place. */
static __noinline int send_icmp_error(context *ctx, struct packet *p, struct icmp_sender *s)
{
	struct icmp_header *icmp = (void *)s->header, *to;
	int len = quote(ctx, p, s);
	__u64 sum = 0;
	void *ip;

	if (len < 0 || make_room(ctx, p, len - sizeof(*icmp)))
		return -1;
	if (p->family == 4) {
		ip = at(ctx, p->l3, sizeof(struct iphdr));
		to = at(ctx, p->l3 + sizeof(struct iphdr), sizeof(*to));
		if (!ip || !to)
			return -1;
		write_ipv4(ip, p, s, sizeof(struct iphdr) + len);
	} else {
		ip = at(ctx, p->l3, sizeof(struct ipv6hdr));
		to = at(ctx, p->l3 + sizeof(struct ipv6hdr), sizeof(*to));
		if (!ip || !to)
			return -1;
		write_ipv6(ip, p, s, len);
		sum = pseudo_header(p, s, len);
	}
	sum += (__u32)bpf_csum_diff(0, 0, s->header, sizeof(s->header) + sizeof(s->quote), 0);
	icmp->checksum = ~csum_fold(sum);
	*to = *icmp;
	return 0;
}

/* reject sends the error; verdict is what that counts as. */
static __always_inline enum verdict reject(context *ctx, struct packet *p,
					   struct icmp_header message, const struct addr *from,
					   enum verdict verdict)
{
	struct icmp_sender *s;

	if (!unicast(p, &p->tuple.src))
		return VERDICT_DROP_SOURCE;
	if (p->fragment == FRAGMENT_LATER)
		return VERDICT_DROP_FRAGMENT;
	s = icmp_sender(verdict == VERDICT_REJECT_TOO_BIG ? BUDGET_TOO_BIG : BUDGET_REJECT);
	if (!s)
		return VERDICT_DROP_RATE_LIMITED;
	*(struct icmp_header *)s->header = message;
	s->from = *from;
	return send_icmp_error(ctx, p, s) ? VERDICT_ABORT : verdict;
}

static __always_inline enum verdict reject_unreachable(context *ctx, struct packet *p,
						       enum verdict rejected, enum verdict dropped)
{
	struct icmp_header message = {
		.type = p->family == 4 ? ICMP_UNREACHABLE : ICMP6_UNREACHABLE,
		.code = p->family == 4 ? ICMP_CODE_PORT : ICMP6_CODE_PORT,
	};

	return unmatched_reject ? reject(ctx, p, message, &p->tuple.dst, rejected) : dropped;
}

static __always_inline enum verdict reject_ttl(context *ctx, struct packet *p,
					       const struct addr *from)
{
	struct icmp_header message = {
		.type = p->family == 4 ? ICMP_TIME_EXCEEDED : ICMP6_TIME_EXCEEDED,
	};

	return reject(ctx, p, message, from, VERDICT_REJECT_TTL);
}

/* An IPv4 MTU stands in the lower half of the word, an IPv6 one fills it. */
static __always_inline enum verdict reject_too_big(context *ctx, struct packet *p, __u16 mtu,
						   const struct addr *from)
{
	struct icmp_header message = {
		.type = p->family == 4 ? ICMP_UNREACHABLE : ICMP6_TOO_BIG,
		.code = p->family == 4 ? ICMP_CODE_FRAGMENTATION_NEEDED : 0,
		.rest = bpf_htonl(mtu),
	};

	return reject(ctx, p, message, from, VERDICT_REJECT_TOO_BIG);
}
