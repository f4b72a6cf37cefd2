// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * source: is the service for this client? Asked before anything else is known of the
 * packet's flow, so that a range that goes takes the flows of its clients along. What
 * a backend says to them, nobody asks about: they can't answer it.
 */
#pragma once
#include "packet.h"

static __noinline int lookup_source(__u32 service, const struct addr *client)
{
	struct source_key key = {
		.prefixlen = SOURCE_BITS + 8 * sizeof(*client),
		.service = service,
		.client = *client,
	};

	return bpf_map_lookup_elem(&sources, &key) != NULL;
}

/* is_excluded: a packet from this client is not for the service. */
static __always_inline int is_excluded(struct region region, __u32 service,
				       const struct addr *client)
{
	return region.flags & REGION_SOURCES && !lookup_source(service, client);
}
