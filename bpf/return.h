// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * return: what pods send to clients. A reply of a flow gets the VIP for its source and
 * goes to the client directly. All else leaves as it came.
 */
#pragma once
#include "address.h"
#include "fragment.h"
#include "mss.h"
#include "node_flow.h"

/*
 * parse_all pulls the headers only where they are not in the first piece: what we send
 * on untouched stays as it is.
 */
static __noinline int parse_once(context *ctx, struct packet *p)
{
	return parse(ctx, p) || p->malformed;
}

static __always_inline int parse_all(context *ctx, struct packet *p)
{
	if (!parse_once(ctx, p))
		return 0;
	if (ctx->data_end - ctx->data >= ctx->len || ctx->data_end - ctx->data >= PULL_MAX)
		return -1;
	pull(ctx);
	__builtin_memset(p, 0, sizeof(*p));
	return parse_once(ctx, p);
}

/* find_return looks for the flow of a packet from a pod, whose tuple is t. */
static __noinline void find_return(const struct tuple *t, struct place *where)
{
	where->key.src = t->dst;
	where->key.dst = t->src;
	where->key.sport = t->dport;
	where->key.dport = t->sport;
	where->key.proto = t->proto;
	__builtin_memset(where->key.pad, 0, sizeof(where->key.pad));
	where->young = 0;
	where->flow = bpf_map_lookup_elem(&node_flows, &where->key);
	if (where->flow || !bpf_map_lookup_elem(&pods, &t->src))
		return;
	where->young = 1;
	where->flow = bpf_map_lookup_elem(&young_flows, &where->key);
}

/* outside is the reply's tuple as the client knows it. */
static __always_inline void outside(const struct place *where, const struct node_flow *f,
				    struct tuple *to)
{
	to->src = f->vip;
	to->dst = where->key.src;
	to->sport = f->vport;
	to->dport = f->cport;
	to->proto = where->key.proto;
	__builtin_memset(to->pad, 0, sizeof(to->pad));
}

/*
 * track_pod follows what the pod sends. It returns -1 if the flow is not ours any
 * more: a SYN-ACK for which we delivered no SYN is of a connection that the client
 * made to the pod itself, with the same port.
 */
static __noinline int track_pod(const struct packet *p, struct place *where, __u32 now)
{
	struct node_flow *f = where->flow;
	__u8 state, flags;

	if (!f)
		return -1;
	if (f->seen != now)
		f->seen = now;
	state = f->state;
	flags = f->flags;
	if (state == FLOW_UDP) {
		if (!(flags & FLOW_ANSWERED))
			f->flags |= FLOW_ANSWERED;
		return 0;
	}
	if (p->fragment == FRAGMENT_LATER)
		return 0;
	if (p->tcp_flags & TCP_RST) {
		state = FLOW_CLOSED;
	} else if (p->tcp_flags & TCP_SYN) {
		if (p->fragment != FRAGMENT_NONE ||
		    (state == FLOW_ESTABLISHED && f->ack == p->tcp_ack))
			return 0; /* said again, for the client's ACK is lost */
		if (state != FLOW_NEW && !(flags & FLOW_SYN_AGAIN))
			return -1;
		state = FLOW_NEW;
		flags = FLOW_ANSWERED;
		f->ack = p->tcp_ack;
	} else {
		if (state == FLOW_NEW || state == FLOW_CLOSED)
			state = FLOW_ESTABLISHED; /* it has the connection */
		if (p->tcp_flags & TCP_FIN)
			flags |= FLOW_FIN_BACKEND;
		if (state == FLOW_ESTABLISHED && (flags & FLOW_FINS) == FLOW_FINS)
			state = FLOW_CLOSING;
	}
	if (state != f->state || flags != f->flags)
		move_to_state(where, state, flags);
	return 0;
}

static __always_inline void forget(const struct place *where)
{
	bpf_map_delete_elem(&node_flows, &where->key);
	bpf_map_delete_elem(&young_flows, &where->key);
}

static __noinline enum verdict reply(context *ctx, struct packet *p)
{
	struct place where = {};
	struct tuple to;
	__u16 most = 0;

	/* A SYN from a pod begins a connection of its own. */
	if (is_new_syn(p))
		return VERDICT_PASS_NOT_VIP;
	find_return(&p->tuple, &where);
	if (!where.flow)
		return VERDICT_PASS_NOT_VIP;
	outside(&where, where.flow, &to);
	if (p->tcp_flags & TCP_SYN && p->fragment == FRAGMENT_NONE)
		most = largest_segment(p, where.flow);
	if (track_pod(p, &where, now_tick())) {
		forget(&where);
		return VERDICT_PASS_NOT_VIP;
	}
	remember_fragment(p);
	if (most && clamp_mss(ctx, p, most))
		return VERDICT_ABORT;
	return readdress(ctx, p, &to) ? VERDICT_ABORT : VERDICT_RETURN;
}

/*
 * An error about a packet to the pod goes to the client, which knows the VIP only. Its
 * own source stays a router's, where it is not the pod itself.
 */
static __noinline enum verdict return_error(context *ctx, struct packet *p)
{
	struct place where = {};
	struct quote q = {};
	struct tuple to;
	__u64 diff;
	int from_pod;

	if (parse_quote(ctx, p, &q))
		return VERDICT_PASS_NOT_VIP;
	find_return(&q.tuple, &where);
	if (!where.flow)
		return VERDICT_PASS_NOT_VIP;
	outside(&where, where.flow, &to);
	from_pod = same_addr(&p->tuple.src, &q.tuple.src);
	turn(&q.tuple);
	turn(&to);
	if (readdress_quote(ctx, p, &q, &to, &diff) ||
	    readdress_error(ctx, p, from_pod ? &to.dst : &p->tuple.src, &p->tuple.dst, diff))
		return VERDICT_ABORT;
	return VERDICT_RETURN;
}

/* egress returns 1 if the packet was changed. */
static __always_inline int egress(context *ctx)
{
	struct packet p = {};
	enum verdict v = VERDICT_PASS_NOT_VIP;

	if (parse_all(ctx, &p) || (p.fragment == FRAGMENT_LATER && lookup_fragment(&p)))
		return ACTION_NEXT;
	if (p.tuple.proto == IPPROTO_TCP || p.tuple.proto == IPPROTO_UDP) {
		v = reply(ctx, &p);
	} else if (is_icmp(&p) && p.fragment == FRAGMENT_NONE && is_icmp_error(&p)) {
		pull(ctx);
		v = return_error(ctx, &p);
	}
	if (v == VERDICT_PASS_NOT_VIP) /* the node's own traffic, which nobody wants counted */
		return ACTION_NEXT;
	count_packet(v, p.len);
	return v == VERDICT_RETURN ? ACTION_NEXT : ACTION_ABORT;
}
