// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* backend: reads the elements of backends and tunnels. */
#pragma once
#include "maps.h"
#include "packet.h"

/* backend_at returns a backend in use, NULL for a free element. */
static __always_inline struct backend *backend_at(__u32 index)
{
	struct backend *b = bpf_map_lookup_elem(&backends, &index);

	return b && b->port ? b : NULL;
}

/*
 * remembered_backend returns a backend that something else than a row has led to. Its
 * element is not emptied while the program runs.
 */
static __always_inline struct backend *remembered_backend(__u32 index, __u32 service)
{
	struct backend *b = backend_at(index);

	if (!b || b->service != service || *(volatile __u16 *)&b->nexthop.flags & BACKEND_LEAVING)
		return NULL;
	return b;
}

/*
 * tunnel_index is the backend's element of tunnels, 0 where its packets are translated. Either
 * may become the other while the program runs: what is to agree is read once.
 */
static __always_inline __u32 tunnel_index(const struct backend *b)
{
	return *(volatile __u16 *)&b->tunnel;
}

/* tunnel_at returns a tunnel in use, NULL for none. */
static __always_inline struct tunnel *tunnel_at(__u32 index)
{
	struct tunnel *t = index ? bpf_map_lookup_elem(&tunnels, &index) : NULL;

	return t && t->flags & TUNNEL_UP ? t : NULL;
}

/* tunnel_of returns the tunnel to the backend's node, NULL where its packets are translated. */
static __always_inline struct tunnel *tunnel_of(const struct backend *b)
{
	return tunnel_at(tunnel_index(b));
}
