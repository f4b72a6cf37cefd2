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

/* tunnel_of returns the tunnel to the backend's node, NULL where its packets are translated. */
static __always_inline struct tunnel *tunnel_of(const struct backend *b)
{
	__u32 index = b->tunnel;
	struct tunnel *t = index ? bpf_map_lookup_elem(&tunnels, &index) : NULL;

	return t && t->flags & TUNNEL_UP ? t : NULL;
}
