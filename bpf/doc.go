// Package bpf holds the load balancer's XDP program and all that concerns the
// kernel's side of it: loading, pinning, attaching and upgrading. It knows
// nothing of Kubernetes and of BGP, and nobody else needs to know cilium/ebpf's
// loader.
//
// # Pins
//
// Everything lives under one bpffs directory, so that forwarding goes on while
// no agent runs:
//
//	tables-HASH/   frontends, slots, backends, services, counters: made from the source at any time
//	state-HASH/    flows, fragments: what only the kernel knows
//	links/DEVICE   the attached program (a dot in the name becomes a colon)
//
// HASH is the schema: a digest of the layout of the group's maps. An agent whose
// tables have another schema makes new ones beside the old, fills them, switches
// the links over, and only then removes the old. State of another schema can't
// be made again, so Load refuses it with ErrStateSchema unless told to let go of
// it. Nothing is ever reset in silence.
//
// # Order
//
// Load, then fill the tables, then Attach: a packet never meets a new program
// with empty tables. Attach updates an existing link in place, which is atomic.
package bpf
