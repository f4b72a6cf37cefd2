// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* packet: what the stages know of a packet, and how they reach into its frame. */
#pragma once
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include "types.h"

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
	__u8 asked;	    /* which owner is asked, as in the tunnel's hop */
	__u8 tos;	    /* or traffic class */
	__u16 version : 14; /* of the row that says who is asked, as marked in the tunnel */
	__u16 bounced : 1;  /* the owner asked before has sent it back */
	__u16 accept : 1;   /* the owner is to take it, even unknown */
	__u64 hash;	    /* of the flow, where it goes through a tunnel */
	__u32 backend;	    /* its index, where one was chosen */
	struct nexthop hop; /* all zero until known */
};

/* at returns the size bytes at offset off, NULL if the frame has them not. */
static __always_inline void *at(context *ctx, __u32 off, __u32 size)
{
	void *end = (void *)(long)ctx->data_end;
	void *p = (void *)(long)ctx->data;

	asm volatile("%0 &= %1" : "+r"(off) : "i"(OFFSET_MASK));
	p += off;
	return p + size > end ? NULL : p;
}

/* copy_mac: struct ethhdr is packed, so that a plain copy would go byte by byte. */
static __always_inline void copy_mac(__u8 *to, const __u8 *from)
{
	*(__u32 *)to = *(const __u32 *)from;
	*(__u16 *)(to + 4) = *(const __u16 *)(from + 4);
}

static __always_inline void set_addr4(struct addr *a, __be32 ip)
{
	a->halves[0] = 0;
	/* in one store, as it is read in one load soon (little-endian, as bpfel is) */
	a->halves[1] = (__u64)ip << 32 | bpf_htonl(0xffff);
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

static __always_inline int is_new_syn(const struct packet *p)
{
	return p->tuple.proto == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}
