// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Everything that the programs share with Go. bpf2go exports these types, so
 * this is their only definition. Addresses, ports and other header fields are
 * in network order, all else is in the host's.
 */
#pragma once
#include <linux/types.h>

/* An IPv6 address, or an IPv4 one mapped into ::ffff:0:0/96 (RFC 4291, 2.5.5.2). */
struct addr {
	union {
		__u8 bytes[16];
		__be32 words[4];
		__u64 halves[2];
	};
};

/* A flow as its packets show it. ICMP echo has its identifier in both ports. */
struct tuple {
	struct addr src;
	struct addr dst;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
};

/* frontends: what clients address. {vip, 0, 0} says that the address is a VIP. */
struct frontend_key {
	struct addr vip;
	__be16 port;
	__u8 proto;
	__u8 pad[5];
};

struct frontend {
	__u32 service; /* 0 for a VIP's own entry */
};

/*
 * frontend_cache: what this CPU found in frontends, of which hashing and comparing the
 * long keys is most of the work. An element counts while frontend_generation is what
 * it was when frontends was asked; the agent counts it on after each change.
 */
#define FRONTEND_CACHE_ORDER 8

struct cached_frontend {
	struct frontend_key key;
	__u32 service;
	__u32 generation;
};

enum region_flags {
	REGION_USABLE = 1 << 0,	  /* there are rows, and they name usable backends */
	REGION_AFFINITY = 1 << 1, /* rows by client address alone */
	REGION_NAT = 1 << 2,	  /* some of its flows are translated: ask flows first */
	REGION_SOURCES = 1 << 3,  /* only clients that sources has are served */
};

/*
 * regions: by service, where its lookup table is: the rows base to base + 2^order - 1
 * of slots. Read and written as one word, so that publishing is one store for all
 * frontends of the service. (Elements of a hash map can't be written in place, and
 * the kernel uses a replaced one again while programs still read it.)
 */
struct region {
	__u32 table; /* base + order; base is a multiple of REGION_ALIGN */
	enum region_flags flags;
} __attribute__((aligned(8)));

#define REGION_ALIGN   32
#define SLOTS_PER_LINE 16

/*
 * sources: which clients a service with REGION_SOURCES serves. prefixlen counts the bits
 * of what follows it, so it is SOURCE_BITS more than that of the range of IPv6
 * addresses, into which IPv4 is mapped.
 */
#define SOURCE_BITS 32

struct source_key {
	__u32 prefixlen;
	__u32 service;
	struct addr client;
};

/* The kernel wants a value. */
struct source {
	__u32 pad;
};

/*
 * slots: every service's table, a cache line an element. A row is its primary's index,
 * with SLOT_CHAINED if its flows may also be on the owners of a chain.
 */
#define SLOT_CHAINED (1U << 31)

struct slot_line {
	__u32 rows[SLOTS_PER_LINE];
};

/*
 * A backend that no row names any more is leaving before its element is emptied: what is
 * remembered of flows leads to it at any time, and a program that has come to it that way
 * has to be done with it first.
 */
#define BACKEND_LEAVING (1U << 0)

/* How to leave the node. Halves are written at once, so no MAC is seen half-changed. */
struct nexthop {
	__u32 ifindex; /* 0: unresolved, the kernel's FIB knows */
	__u16 vlan;    /* 802.1Q ID, 0 for none */
	__u16 mtu;     /* bytes of IP packet, 0 if unknown */
	__u8 dst_mac[6];
	__u16 pad;
	__u8 src_mac[6];
	__u16 flags; /* of the backend that it is part of, where there would be padding */
};

/* chains: the owners that the flows of a row can have, the primary first. One cache line. */
#define CHAIN_MAX 15

struct chain {
	__u32 count; /* of owners, from 1 */
	__u32 owners[CHAIN_MAX];
};

/*
 * ranks: by row, where its chain is, if it is chained, and who is asked after it: the
 * index of a backend plus 1, 0 for none.
 */
#define RANKS_MAX 3

struct rank {
	__u32 owners[RANKS_MAX];
	__u32 chain; /* index of chains */
};

/* backends: one endpoint of one service, one cache line. */
struct backend {
	struct addr addr;
	struct addr source; /* the node's own address towards it */
	struct nexthop nexthop;
	__u32 service;
	__be16 port;  /* 0: the element is free */
	__u16 tunnel; /* its node's element of tunnels, 0: its packets are translated */
};

/* tunnels: the way to one ingress node, one cache line. Element 0 is nobody's. */
enum tunnel_flags {
	TUNNEL_UP = 1 << 0,   /* the element is in use */
	TUNNEL_DEAD = 1 << 1, /* the node does not answer: no displaced flow is looked for there */
};

struct tunnel {
	struct addr addr;   /* the ingress node's */
	struct addr source; /* this node's own towards it, of the same family */
	struct nexthop nexthop;
	enum tunnel_flags flags;
	__u32 pad;
};

/* members: the addresses between which there are tunnels. */
enum member_flags {
	MEMBER_SELF = 1 << 0,	 /* this node's: tunnel packets to it are for us */
	MEMBER_LB = 1 << 1,	 /* of an LB node, whose packets an ingress node takes */
	MEMBER_BACKEND = 1 << 2, /* of an ingress node, whose bounces an LB node takes */
};

struct member {
	enum member_flags flags;
};

/*
 * learned: a displaced flow, by the 64 bits of its hash -> the backend that kept it.
 * learned_filter says for most flows that they are not there: one bit of a
 * generation's for each flow. A bit counts in its own and in the next generation;
 * the agent clears the one after.
 */
struct learned_owner {
	__u32 backend;
	__u32 service;
};

#define FILTER_ORDER	   20 /* bits of a generation: 2^20 */
#define FILTER_GENERATIONS 4
#define FILTER_SHIFT	   8 /* a generation is 2^8 ticks, 275 s */

/* bounce_budgets: bounces that this CPU sent on in this tick. */
struct budget {
	__u32 tick;
	__u32 sent;
};

/*
 * The tunnel is Geneve (RFC 8926) with exactly one option, whose data is the pod's
 * address (4 or 16 bytes, the family of the inner packet) and struct tunnel_tail.
 */
#define TUNNEL_CLASS 0xff50 /* of the experimental ones */
#define TUNNEL_TYPE  0x81   /* version 1, and critical: not to be ignored */

enum tunnel_tail_flags {
	TUNNEL_ACCEPT = 1 << 0, /* the last owner: take the flow even if it is unknown */
	TUNNEL_BOUNCE = 1 << 1, /* from an ingress node: not mine, ask the next owner */
	TUNNEL_PROBE = 1 << 2,	/* no inner packet; comes back with TUNNEL_BOUNCE */
};

struct tunnel_tail {
	__be16 port; /* the pod's */
	__u8 hop;    /* position of the owner that is asked, or HOP_LEARNED */
	__u8 flags;  /* enum tunnel_tail_flags */
};

#define HOP_LEARNED 0xff /* learned named the owner: the search has not begun */

/* backend_indices: where a backend stands, for flows whose hint is out of date. */
struct backend_key {
	struct addr addr;
	__u32 service;
	__be16 port;
	__u16 pad;
};

#define SERVICE_NAME_MAX 160

/* services: names, for those who read the tables. */
struct service {
	char name[SERVICE_NAME_MAX];
};

enum flow_state {
	FLOW_NEW, /* SYN seen, handshake not complete */
	FLOW_ESTABLISHED,
	FLOW_CLOSING, /* FIN from both sides, or the client's RST */
	FLOW_CLOSED,  /* the backend's RST, or a flow that began in the middle */
	FLOW_UDP,
	FLOW_STATES,
};

enum flow_flags {
	FLOW_REPLY = 1 << 0, /* the half that turns the backend's packets around */
	FLOW_FIN_CLIENT = 1 << 1,
	FLOW_FIN_BACKEND = 1 << 2,
	FLOW_ANSWERED = 1 << 3, /* SYN-ACK seen */
};

/*
 * flows: a packet's tuple -> what it becomes. Each flow has two halves; the
 * other half's key is this value, reversed, and the other way round.
 */
struct flow {
	struct addr src;
	struct addr dst;
	__be16 sport;
	__be16 dport;
	__u8 state; /* enum flow_state */
	__u8 flags; /* enum flow_flags */
	/* Low bits of the tick when the other half was looked after; of a new flow
	 * that is answered, of the number whose ACK completes the handshake. */
	__u16 renewed;
	__u32 backend; /* a hint: valid while that element has the flow's dst and dport */
	__u32 seen;    /* tick of the last packet */
};

/* A tick is 2^30 ns of CLOCK_MONOTONIC, 1.07 s: a shift where seconds were a division. */
#define TICK_SHIFT 30

/* fragments: a datagram -> its ports, which only its first fragment shows. */
struct fragment_key {
	struct addr src;
	struct addr dst;
	__be32 id;
	__u8 proto;
	__u8 pad[3];
};

struct fragment {
	__be16 sport;
	__be16 dport;
	__u32 seen; /* tick */
	__u8 proto; /* of the transport, which IPv6 may name in the first fragment only */
	__u8 pad[3];
};

/* reply_ports: the ports that flows may have, of this and of former configurations. */
struct port_range {
	__u16 first;
	__u16 last;
};

struct counter {
	__u64 packets;
	__u64 bytes; /* of IP packet; of frame where it is not IP */
};

struct backend_counter {
	__u64 packets;
	__u64 bytes; /* of IP packet, towards the backend */
	__u64 flows;
};

#define QUOTE_MAX 128 /* bytes of a packet that an ICMP error quotes */

/* A flood of what is rejected must not silence path MTU discovery. */
enum icmp_budget {
	BUDGET_REJECT,
	BUDGET_TOO_BIG,
	BUDGETS,
};

/* icmp_senders: each CPU's rate limits, and room to build a message in. */
struct icmp_sender {
	__u32 tick;
	__u32 sent[BUDGETS]; /* in this tick */
	__u32 pad;
	struct addr from; /* the error's source */
	__be32 header[2];
	__u8 quote[QUOTE_MAX];
};

/*
 * How the program is done with a packet. Each packet moves exactly one of these
 * counters. The part before the first underscore tells the kind; Go makes the
 * names from these, so that there is no second list.
 */
enum verdict {
	VERDICT_PASS_NOT_IP,	      /* neither IPv4 nor IPv6: to the kernel, untouched */
	VERDICT_PASS_NOT_VIP,	      /* not for us: to the kernel, untouched */
	VERDICT_FORWARD,	      /* translated and sent to the backend */
	VERDICT_FORWARD_KERNEL,	      /* translated; the kernel sends it */
	VERDICT_ENCAP,		      /* through the tunnel to the backend's node */
	VERDICT_ENCAP_KERNEL,	      /* as encap; the kernel sends it */
	VERDICT_ENCAP_NEXT,	      /* bounced by one owner, through the tunnel to the next */
	VERDICT_ENCAP_NEXT_KERNEL,    /* as encap_next; the kernel sends it */
	VERDICT_REPLY,		      /* translated back and sent to the client */
	VERDICT_REPLY_KERNEL,	      /* translated back; the kernel sends it */
	VERDICT_ICMP_ECHO,	      /* a ping of a VIP, answered here */
	VERDICT_ICMP_FORWARD,	      /* an ICMP error about a reply, to the backend */
	VERDICT_ICMP_REPLY,	      /* an ICMP error about a request, to the client */
	VERDICT_PROBE_ANSWERED,	      /* ingress node: a probe, sent back */
	VERDICT_PASS_PROBE,	      /* an ingress node's answer to a probe, to the agent */
	VERDICT_DELIVER,	      /* ingress node: out of the tunnel, to the pod */
	VERDICT_BOUNCE,		      /* ingress node: of no flow of the pod, back to the LB node */
	VERDICT_RETURN,		      /* ingress node: a pod's reply, which gets the VIP's source */
	VERDICT_REJECT_PORT,	      /* no frontend on this port of the VIP */
	VERDICT_REJECT_NO_BACKEND,    /* a frontend without a usable backend */
	VERDICT_REJECT_TTL,	      /* TTL or hop limit ends here */
	VERDICT_REJECT_TOO_BIG,	      /* larger than the path's MTU and not to be fragmented */
	VERDICT_DROP_PORT,	      /* as reject_port, with datapath.unmatched: drop */
	VERDICT_DROP_NO_BACKEND,      /* as reject_no_backend, with datapath.unmatched: drop */
	VERDICT_DROP_RATE_LIMITED,    /* would be rejected, but datapath.icmpRate is used up */
	VERDICT_DROP_MALFORMED,	      /* for a VIP, with headers that do not fit */
	VERDICT_DROP_FRAGMENT,	      /* for a VIP, a later fragment whose first was not taken */
	VERDICT_DROP_PROTOCOL,	      /* for a VIP, neither TCP, UDP nor ICMP */
	VERDICT_DROP_ICMP,	      /* for a VIP, an ICMP message about no flow that we know */
	VERDICT_DROP_SOURCE,	      /* from an address that no client can have */
	VERDICT_DROP_SOURCE_RANGE,    /* from a client that the service is not for */
	VERDICT_DROP_PORTS_EXHAUSTED, /* no free port found in nat.ports for this backend */
	VERDICT_DROP_FLOW_TABLE,      /* the flow table took no entry */
	VERDICT_DROP_NO_ROUTE,	      /* the kernel's FIB says unreachable */
	VERDICT_DROP_TUNNEL_SOURCE,   /* a tunnel packet from no node that may send one here */
	VERDICT_DROP_TUNNEL,	      /* a tunnel packet that is not as it has to be */
	VERDICT_DROP_BOUNCE_RATE,     /* bounced, but tunnel.bounceRate is used up */
	VERDICT_DROP_NOT_LOCAL,	      /* ingress node: for a pod that is not here */
	VERDICT_DROP_UNKNOWN_FLOW,    /* ingress node: of no flow, not to be bounced */
	VERDICT_DROP_COLLISION,	      /* ingress node: its tuple is another VIP's flow's */
	VERDICT_DROP_ECN,	      /* ingress node: congestion met, but no ECN (RFC 6040) */
	VERDICT_DROP_TABLE,	      /* a table points at nothing: a defect, please report it */
	VERDICT_ABORT,		      /* the frame could not be resized */
	VERDICTS,
};
