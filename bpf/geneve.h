// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * geneve: the tunnel's headers as they are on the wire (RFC 8926). The option's
 * data, a pod's address and struct tunnel_tail, follow.
 */
#pragma once
#include "packet.h"

#define TUNNEL_TTL	  64
#define TUNNEL_PORT_FIRST 49152 /* RFC 8926, 3.3: of the dynamic ports */
#define TUNNEL_PORT_BITS  14
#define GENEVE_CONTROL	  0x80
#define GENEVE_CRITICAL	  0x40 /* there is an option that must not be ignored */
#define OPTION_LEN_MASK	  0x1f /* the upper three bits are reserved */
#define OPTION_LEN4	  ((sizeof(__be32) + sizeof(struct tunnel_tail)) / 4)
#define OPTION_LEN6	  ((sizeof(struct addr) + sizeof(struct tunnel_tail)) / 4)

struct tunnel_headers {
	struct udphdr udp;
	__u8 opt_len; /* of the option with its own header, in units of 4 bytes; version 0 above */
	__u8 flags;
	__be16 proto; /* of the inner packet, an ethertype */
	__be32 vni;   /* upper 24 bits, the rest is reserved */
	__be16 option_class;
	__u8 option_type;
	__u8 option_len; /* of its data, in units of 4 bytes */
};

/*
 * flow_mark tells flows apart on their way by the bits of their hash that those of a row
 * do not have in common, unless it is one of more than 2^18.
 */
static __always_inline __u16 flow_mark(const struct packet *p)
{
	return p->hash >> (64 - TUNNEL_PORT_BITS);
}

/* tunnel_len is that of all headers of a tunnel packet, from its IP header on. */
static __always_inline __u32 tunnel_len(__u8 outer, __u8 inner)
{
	return (outer == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) +
	       sizeof(struct tunnel_headers) + 4 * (inner == 4 ? OPTION_LEN4 : OPTION_LEN6);
}
