// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* verdict: the one exit. Counts the packet and says what XDP does with it. */
#pragma once
#include "parse.h"

static __always_inline int action_of(enum verdict v, const struct packet *p)
{
	switch (v) {
	case VERDICT_PASS_NOT_IP:
	case VERDICT_PASS_NOT_VIP:
	case VERDICT_FORWARD_KERNEL:
	case VERDICT_ENCAP_KERNEL:
	case VERDICT_ENCAP_NEXT_KERNEL:
	case VERDICT_REPLY_KERNEL:
	case VERDICT_PASS_PROBE:
		return XDP_PASS;
	case VERDICT_FORWARD:
	case VERDICT_ENCAP:
	case VERDICT_ENCAP_NEXT:
	case VERDICT_REPLY:
	case VERDICT_ICMP_FORWARD:
	case VERDICT_ICMP_REPLY:
		return p->action;
	case VERDICT_ICMP_ECHO:
	case VERDICT_REJECT_PORT:
	case VERDICT_REJECT_NO_BACKEND:
	case VERDICT_REJECT_TTL:
	case VERDICT_REJECT_TOO_BIG:
		return XDP_TX;
	case VERDICT_ABORT:
		return XDP_ABORTED;
	default:
		return XDP_DROP;
	}
}

static __always_inline int count(const struct packet *p, enum verdict v)
{
	__u32 key = v;
	struct counter *c = bpf_map_lookup_elem(&verdicts, &key);

	if (c) {
		c->packets++;
		c->bytes += p->len;
	}
	return action_of(v, p);
}
