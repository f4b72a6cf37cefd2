// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* member: whose address it is, as far as tunnels go. The role's maps are included before. */
#pragma once
#include "packet.h"

static __noinline int is_member(const struct addr *a, enum member_flags as)
{
	struct addr key = *a;
	struct member *m = bpf_map_lookup_elem(&members, &key);

	return m && m->flags & as;
}
