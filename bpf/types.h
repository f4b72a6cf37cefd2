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

enum region_flags {
	REGION_USABLE = 1 << 0,	  /* there are rows, and they name usable backends */
	REGION_AFFINITY = 1 << 1, /* rows by client address alone */
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

/* slots: every service's table, a cache line an element, each row a backend's index. */
struct slot_line {
	__u32 rows[SLOTS_PER_LINE];
};

/* How to leave the node. Halves are written at once, so no MAC is seen half-changed. */
struct nexthop {
	__u32 ifindex; /* 0: unresolved, the kernel's FIB knows */
	__u16 vlan;    /* 802.1Q ID, 0 for none */
	__u16 mtu;     /* bytes of IP packet, 0 if unknown */
	__u8 dst_mac[6];
	__u16 pad1;
	__u8 src_mac[6];
	__u16 pad2;
};

/* backends: one endpoint of one service, one cache line. */
struct backend {
	struct addr addr;
	struct addr source; /* the node's own address towards it */
	struct nexthop nexthop;
	__u32 service;
	__be16 port; /* 0: the element is free */
	__u16 pad;
};

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
	VERDICT_REPLY,		      /* translated back and sent to the client */
	VERDICT_REPLY_KERNEL,	      /* translated back; the kernel sends it */
	VERDICT_ICMP_ECHO,	      /* a ping of a VIP, answered here */
	VERDICT_ICMP_FORWARD,	      /* an ICMP error about a reply, to the backend */
	VERDICT_ICMP_REPLY,	      /* an ICMP error about a request, to the client */
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
	VERDICT_DROP_PORTS_EXHAUSTED, /* no free port found in nat.ports for this backend */
	VERDICT_DROP_FLOW_TABLE,      /* the flow table took no entry */
	VERDICT_DROP_NO_ROUTE,	      /* the kernel's FIB says unreachable */
	VERDICT_DROP_TABLE,	      /* a table points at nothing: a defect, please report it */
	VERDICT_ABORT,		      /* the frame could not be resized */
	VERDICTS,
};
