//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The harness that makes packets for the program under test, and floors: programs
 * that do the least that a load balancer of some kind could. All of it takes the
 * template's word for what the frames are: Ethernet, IPv4 without options, then
 * ports.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define FRAME	  60
#define CLIENTS	  0x0a000000 /* 10.0.0.0/8 */
#define PORT_BITS 12
#define PORT_MIN  1024
#define TABLE	  65536
#define BACKENDS  128

/* A frame in words, which is how it is copied. */
struct words {
	__u64 w[FRAME / 8];
	__u32 last;
	__u32 pad;
};

struct frame {
	struct ethhdr *eth;
	struct iphdr *ip;
	struct udphdr *udp; /* TCP has its ports there too */
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} under_test SEC(".maps");

struct words template;
__u64 counter; /* packets made, since ever */

/* The flows are the counter's low bits, in an order that the stride gives. */
__u64 flow_mask;
__u64 stride = 1;
__u8 vary; /* 0 leaves the template's source alone */

static __always_inline int find(struct xdp_md *ctx, struct frame *f)
{
	f->eth = (void *)(long)ctx->data;
	f->ip = (void *)(f->eth + 1);
	f->udp = (void *)(f->ip + 1);
	return (void *)(long)ctx->data + FRAME > (void *)(long)ctx->data_end ? -1 : 0;
}

SEC("xdp.frags")
int harness(struct xdp_md *ctx)
{
	int grown = (int)(ctx->data_end - ctx->data) - FRAME;
	struct words *words;
	struct frame f;
	__u64 flow;

	if (grown && bpf_xdp_adjust_head(ctx, grown))
		return XDP_ABORTED;
	if (find(ctx, &f))
		return XDP_ABORTED;
	words = (void *)f.eth;
#pragma unroll
	for (int i = 0; i < FRAME / 8; i++)
		words->w[i] = template.w[i];
	words->last = template.last;
	flow = counter++ * stride & flow_mask;
	if (vary) {
		f.ip->saddr = bpf_htonl(CLIENTS + (flow >> PORT_BITS));
		f.udp->source = bpf_htons(PORT_MIN + (flow & ((1 << PORT_BITS) - 1)));
	}
	bpf_tail_call(ctx, &under_test, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int floor_tx(struct xdp_md *ctx)
{
	return XDP_TX;
}

struct vip {
	__be32 addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

struct target {
	__be32 addr;
	__be16 port;
	__u8 mac[ETH_ALEN];
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct vip);
	__type(value, __u32); /* first row of its table */
} vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TABLE);
	__type(key, __u32);
	__type(value, __u32);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BACKENDS);
	__type(key, __u32);
	__type(value, struct target);
} targets SEC(".maps");

static __always_inline __u32 hash_of(const struct frame *f)
{
	__u64 h = ((__u64)f->ip->saddr << 32 | f->ip->daddr) * 0x9e3779b97f4a7c15;

	h ^= h >> 32;
	h ^= (__u32)f->udp->source << 16 | f->udp->dest;
	h *= 0xd6e8feb86659fd93;
	return h >> 32;
}

/* pick returns the flow's target, by a VIP hash and two arrays. */
static __always_inline struct target *pick(const struct frame *f)
{
	struct vip key = {.addr = f->ip->daddr, .port = f->udp->dest, .proto = f->ip->protocol};
	__u32 *base = bpf_map_lookup_elem(&vips, &key), row, *index;

	if (!base)
		return NULL;
	row = *base + (hash_of(f) & (TABLE - 1));
	index = bpf_map_lookup_elem(&table, &row);
	return index ? bpf_map_lookup_elem(&targets, index) : NULL;
}

static __always_inline void add(__u16 *check, __u64 diff)
{
	diff += (__u16) ~*check;
	diff = (diff & 0xffffffff) + (diff >> 32);
	diff = (diff & 0xffff) + (diff >> 16);
	diff = (diff & 0xffff) + (diff >> 16);
	diff = (diff & 0xffff) + (diff >> 16);
	*check = ~diff;
}

static __always_inline void send_to(struct frame *f, const struct target *t)
{
	__u64 addr = (__u64)(__u32)~f->ip->daddr + t->addr;
	__u64 port = (__u64)(__u16)~f->udp->dest + t->port;

	__builtin_memcpy(f->eth->h_source, f->eth->h_dest, ETH_ALEN);
	__builtin_memcpy(f->eth->h_dest, t->mac, ETH_ALEN);
	f->ip->ttl--;
	add(&f->ip->check, addr + (__u16)~bpf_htons(0x0100));
	add(&f->udp->check, addr + port);
	f->ip->daddr = t->addr;
	f->udp->dest = t->port;
}

/* Stateless: the destination becomes a backend, and nothing is remembered. */
SEC("xdp.frags")
int floor_stateless(struct xdp_md *ctx)
{
	struct frame f;
	struct target *t;

	if (find(ctx, &f))
		return XDP_ABORTED;
	t = pick(&f);
	if (!t)
		return XDP_PASS;
	send_to(&f, t);
	return XDP_TX;
}

struct five_tuple {
	__be32 src, dst;
	__be16 sport, dport;
	__u32 proto;
};

struct mapping {
	struct target target;
	__be32 src;
	__be16 sport;
	__u16 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 22);
	__type(key, struct five_tuple);
	__type(value, struct mapping);
} mappings SEC(".maps");

/* NAT: source and destination change as the flow's entry in an LRU hash says. */
SEC("xdp.frags")
int floor_nat(struct xdp_md *ctx)
{
	struct frame f;
	struct five_tuple key;
	struct mapping *m, fresh = {};
	struct target *t;
	__u64 addr, port;

	if (find(ctx, &f))
		return XDP_ABORTED;
	key = (struct five_tuple){f.ip->saddr, f.ip->daddr, f.udp->source, f.udp->dest,
				  f.ip->protocol};
	m = bpf_map_lookup_elem(&mappings, &key);
	if (!m) {
		t = pick(&f);
		if (!t)
			return XDP_PASS;
		fresh.target = *t;
		fresh.src = f.ip->daddr;
		fresh.sport = f.udp->source;
		if (bpf_map_update_elem(&mappings, &key, &fresh, BPF_ANY))
			return XDP_ABORTED;
		m = &fresh;
	}
	addr = (__u64)(__u32)~f.ip->saddr + m->src;
	port = (__u64)(__u16)~f.udp->source + m->sport;
	add(&f.ip->check, addr);
	add(&f.udp->check, addr + port);
	f.ip->saddr = m->src;
	f.udp->source = m->sport;
	send_to(&f, &m->target);
	return XDP_TX;
}

char _license[] SEC("license") = "Dual BSD/GPL";
