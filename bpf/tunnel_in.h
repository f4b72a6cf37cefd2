// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * tunnel_in: what an LB node asks of this ingress node. The outer headers are read in
 * place and judged from the outside in; of the inner packet parse.h reads the rest.
 */
#pragma once
#include "node_maps.h"

#include "geneve.h"
#include "member.h"
#include "parse.h"

#define HOP_MAX	 31 /* of the wire format; no version asks as many owners */
#define ECN_MASK 3

/* A packet from an LB node. Offsets count from the start of the frame. */
struct request {
	struct addr pod;
	__be16 port; /* the pod's */
	__u8 flags;  /* enum tunnel_tail_flags */
	__u8 family; /* of the outer packet */
	__u8 ecn;    /* of the outer packet */
	__u8 fragmented;
	__u16 l3; /* outer IP header */
	__u16 udp;
	__u16 tail;  /* struct tunnel_tail */
	__u16 inner; /* inner IP header */
	__u32 len;   /* bytes of outer IP packet */
};

/*
 * parse_outer says whether this is a UDP packet to the tunnel port. Later fragments of
 * one have no port and are the kernel's, which waits in vain for the first.
 */
static __always_inline int parse_outer(context *ctx, struct packet *p, struct request *r,
				       __be16 proto)
{
	struct udphdr *udp;

	r->l3 = p->l3;
	r->udp = r->l3;
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = at(ctx, r->l3, sizeof(*ip));

		if (!ip)
			return 0;
		p->len = bpf_ntohs(ip->tot_len);
		if (ip->protocol != IPPROTO_UDP || ip->version != 4 || ip->ihl != 5 ||
		    ip->frag_off & bpf_htons(IP_OFFSET))
			return 0;
		r->family = 4;
		r->ecn = ip->tos & ECN_MASK;
		r->fragmented = !!(ip->frag_off & bpf_htons(IP_MF));
		r->udp += sizeof(*ip);
		set_addr4(&p->tuple.src, ip->saddr);
		set_addr4(&p->tuple.dst, ip->daddr);
	} else {
		struct ipv6hdr *ip = at(ctx, r->l3, sizeof(*ip));

		if (!ip)
			return 0;
		p->len = sizeof(*ip) + bpf_ntohs(ip->payload_len);
		if (ip->nexthdr != IPPROTO_UDP || ip->version != 6)
			return 0;
		r->family = 6;
		r->ecn = ip->flow_lbl[0] >> 4 & ECN_MASK;
		r->udp += sizeof(*ip);
		set_addr6(&p->tuple.src, &ip->saddr);
		set_addr6(&p->tuple.dst, &ip->daddr);
	}
	r->len = p->len;
	udp = at(ctx, r->udp, sizeof(*udp));
	return udp && udp->dest == tunnel_port && tunnel_port;
}

static __always_inline int parse_option(context *ctx, struct request *r,
					const struct tunnel_headers *h)
{
	int v6 = h->proto == bpf_htons(ETH_P_IPV6);
	__u8 words = v6 ? OPTION_LEN6 : OPTION_LEN4;
	__u32 data = r->udp + sizeof(*h);
	struct tunnel_tail *tail;
	void *pod;

	if (h->opt_len != words + 1 || (h->option_len & OPTION_LEN_MASK) != words)
		return -1;
	pod = at(ctx, data, v6 ? sizeof(struct addr) : sizeof(__be32));
	if (!pod)
		return -1;
	if (v6)
		set_addr6(&r->pod, pod);
	else
		set_addr4(&r->pod, *(__be32 *)pod);
	if (v6 && is_mapped(&r->pod))
		return -1;
	r->inner = data + words * 4;
	r->tail = r->inner - sizeof(*tail);
	tail = at(ctx, r->tail, sizeof(*tail));
	if (!tail || (tail->hop > HOP_MAX && tail->hop != HOP_LEARNED))
		return -1;
	r->port = tail->port;
	r->flags = tail->flags;
	return 0;
}

/*
 * parse_tunnel returns 0 if the outer packet is as it has to be. Of ours none but a
 * probe has a UDP checksum, and nobody here could verify one (RFC 6936, 5).
 */
static __always_inline int parse_tunnel(context *ctx, struct request *r)
{
	struct tunnel_headers *h = at(ctx, r->udp, sizeof(*h));
	__be16 check;

	if (!h || r->fragmented || r->l3 + r->len > frame_len(ctx) ||
	    r->l3 + r->len != r->udp + (__u32)bpf_ntohs(h->udp.len))
		return -1;
	check = h->udp.check;
	if ((h->flags & (GENEVE_CONTROL | GENEVE_CRITICAL)) != GENEVE_CRITICAL ||
	    h->option_class != bpf_htons(TUNNEL_CLASS) || h->option_type != TUNNEL_TYPE ||
	    h->vni & bpf_htonl(0xffffff00) ||
	    (h->proto != bpf_htons(ETH_P_IP) && h->proto != bpf_htons(ETH_P_IPV6)))
		return -1;
	if (parse_option(ctx, r, h))
		return -1;
	if (r->flags == TUNNEL_PROBE)
		return r->l3 + r->len != r->inner;
	return check || (r->flags && r->flags != TUNNEL_ACCEPT);
}

/* No client and no VIP is a group, this host or no host. */
static __always_inline int is_host(const struct packet *p, const struct addr *a)
{
	__u32 ip = bpf_ntohl(a->words[3]);

	if (p->family == 4)
		return ip >> 24 != 0 && ip >> 24 != 127 && ip >> 28 < 0xe;
	return a->bytes[0] != 0xff && (a->halves[0] || a->words[2] || ip > 1) && !is_mapped(a);
}

/* parse_inner returns 0 if the inner packet is whole, of the option's family and of a client. */
static __always_inline int parse_inner(context *ctx, struct packet *p, const struct request *r)
{
	int err;

	p->l3 = r->inner;
	err = is_mapped(&r->pod) ? parse_ipv4(ctx, p) : parse_ipv6(ctx, p);
	if (err)
		return -1;
	parse_l4(ctx, p);
	return p->malformed || r->inner + p->len != r->l3 + r->len || !is_host(p, &p->tuple.src) ||
	       !is_host(p, &p->tuple.dst);
}
