// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * mss: the SYN-ACK tells the client how large its packets may be so that they still
 * fit with the tunnel's headers.
 */
#pragma once
#include "node_maps.h"
#include "packet.h"

#define TCP_OPTION_STEPS 10
#define TCP_OPTION_END	 0
#define TCP_OPTION_NOP	 1
#define TCP_OPTION_MSS	 2
#define TCP_MSS_LEN	 4

/* largest_segment returns the MSS that fits the tunnel, 0 where there is no limit. */
static __always_inline __u16 largest_segment(const struct packet *p, const struct node_flow *f)
{
	__u32 zero = 0, headers;
	struct settings *s = bpf_map_lookup_elem(&node_settings, &zero);

	headers = f->overhead + sizeof(struct tcphdr) +
		  (p->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	return s && s->mtu > headers && s->mtu - headers <= 0xffff ? s->mtu - headers : 0;
}

/*
 * clamp_mss lowers the MSS option of a SYN-ACK, never raises it. A SYN-ACK without the
 * option stands for 536 bytes, or 1220 (RFC 9293, 3.7.1), which fit every tunnel.
 */
static __noinline int clamp_mss(context *ctx, const struct packet *p, __u16 most)
{
	struct tcphdr *tcp = at(ctx, p->l4, sizeof(*tcp));
	__u32 off = p->l4 + sizeof(*tcp), end;
	__be16 old, new = bpf_htons(most);

	if (!tcp)
		return -1;
	end = p->l4 + tcp->doff * 4;
	for (int i = 0; i < TCP_OPTION_STEPS && off + TCP_MSS_LEN <= end; i++) {
		__u8 *option = at(ctx, off, TCP_MSS_LEN);

		if (!option || option[0] == TCP_OPTION_END)
			return 0;
		if (option[0] == TCP_OPTION_NOP) {
			off++;
			continue;
		}
		if (option[0] == TCP_OPTION_MSS && option[1] == TCP_MSS_LEN) {
			__builtin_memcpy(&old, option + 2, sizeof(old));
			if (bpf_ntohs(old) <= most)
				return 0;
			count_event(EVENT_MSS);
			if (put(ctx, off + 2, &new, sizeof(new)))
				return -1;
			if ((off - p->l4) & 1) { /* across two words of the sum */
				old = __builtin_bswap16(old);
				new = __builtin_bswap16(new);
			}
			return fix_l4(ctx, p->l4 + TCP_CHECKSUM, 0, csum_diff16(old, new),
				      IPPROTO_TCP);
		}
		if (option[1] < 2)
			return 0;
		off += option[1];
	}
	return 0;
}
