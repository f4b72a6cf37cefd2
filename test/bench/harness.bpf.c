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
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define FRAME	  60
#define TUNNEL	  48	     /* bytes that a tunnel adds, IPv4 in IPv4 */
#define CLIENTS	  0x0a000000 /* 10.0.0.0/8 */
#define PORT_BITS 12
#define PORT_MIN  1024
#define TABLE	  65536
#define BACKENDS  128

/* A frame in words, which is how it is copied, as far as its length goes. */
struct words {
	__u64 w[(FRAME + TUNNEL) / 8 + 1];
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

/* make turns whatever is there into the next packet, whose client is at outer bytes' distance. */
static __always_inline int make(struct xdp_md *ctx, __u32 len, __u32 outer)
{
	int grown = (int)(ctx->data_end - ctx->data) - (int)len;
	struct frame f;
	__u64 flow, *to;

	if (grown && bpf_xdp_adjust_head(ctx, grown))
		return XDP_ABORTED;
	to = (void *)(long)ctx->data;
	if ((void *)to + len > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < len / 8; i++)
		to[i] = template.w[i];
	*(__u32 *)&to[len / 8] = template.w[len / 8];
	flow = counter++ * stride & flow_mask;
	if (vary) {
		f.ip = (void *)to + outer + sizeof(*f.eth);
		f.udp = (void *)(f.ip + 1);
		f.ip->saddr = bpf_htonl(CLIENTS + (flow >> PORT_BITS));
		f.udp->source = bpf_htons(PORT_MIN + (flow & ((1 << PORT_BITS) - 1)));
	}
	bpf_tail_call(ctx, &under_test, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int harness(struct xdp_md *ctx)
{
	return make(ctx, FRAME, 0);
}

/* The same packets as they come out of a tunnel. */
SEC("xdp.frags")
int harness_tunnel(struct xdp_md *ctx)
{
	return make(ctx, FRAME + TUNNEL, TUNNEL);
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

/* What a Geneve tunnel with one option puts before an IPv4 packet. */
struct outer {
	struct iphdr ip;
	struct udphdr udp;
	__be32 geneve[5];
};

/* Stateless, through a tunnel: the packet stays as it is, behind new headers. */
SEC("xdp.frags")
int floor_encap(struct xdp_md *ctx)
{
	__u16 *word;
	struct outer *o;
	struct target *t;
	__u64 sum = 0;
	struct frame f;
	__u16 source;

	if (find(ctx, &f))
		return XDP_ABORTED;
	t = pick(&f);
	if (!t)
		return XDP_PASS;
	source = hash_of(&f);
	if (bpf_xdp_adjust_head(ctx, -TUNNEL))
		return XDP_ABORTED;
	f.eth = (void *)(long)ctx->data;
	o = (void *)(f.eth + 1);
	if ((void *)(o + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(f.eth->h_dest, t->mac, ETH_ALEN);
	__builtin_memcpy(f.eth->h_source, t->mac, ETH_ALEN);
	f.eth->h_proto = bpf_htons(ETH_P_IP);
	o->ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = bpf_htons(FRAME + TUNNEL - sizeof(*f.eth)),
		.ttl = 64,
		.protocol = IPPROTO_UDP,
		.saddr = t->addr,
		.daddr = t->addr,
	};
	word = (void *)&o->ip;
#pragma unroll
	for (int i = 0; i < sizeof(o->ip) / 2; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	o->ip.check = ~((sum & 0xffff) + (sum >> 16));
	o->udp = (struct udphdr){.source = source,
				 .dest = t->port,
				 .len = bpf_htons(FRAME + TUNNEL - sizeof(*f.eth) - sizeof(o->ip))};
	o->geneve[0] = bpf_htonl(0x03400800);
	o->geneve[1] = 0;
	o->geneve[2] = bpf_htonl(0xff508102);
	o->geneve[3] = t->addr;
	o->geneve[4] = t->port;
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

/*
 * Out of the tunnel: the flow's entry in an LRU hash says where to, and the
 * destination changes.
 */
SEC("xdp.frags")
int floor_decap(struct xdp_md *ctx)
{
	struct five_tuple key;
	struct mapping *m;
	struct frame f;

	if ((void *)(long)ctx->data + FRAME + TUNNEL > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (bpf_xdp_adjust_head(ctx, TUNNEL) || find(ctx, &f))
		return XDP_ABORTED;
	__builtin_memcpy(f.eth, template.w, sizeof(*f.eth));
	key = (struct five_tuple){f.ip->saddr, f.ip->daddr, f.udp->source, f.udp->dest,
				  f.ip->protocol};
	m = bpf_map_lookup_elem(&mappings, &key);
	if (!m)
		return XDP_ABORTED;
	send_to(&f, &m->target);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
