package maps

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
)

// tunnels are the ways to the ingress nodes, by the address of each. What the
// element of an address is, the backends of the node know by its number.
type tunnels struct {
	m       *ebpf.Map
	byAddr  map[netip.Addr]*tunnel
	byIndex map[uint16]*tunnel
	indices *indices
}

type tunnel struct {
	addr  netip.Addr
	index uint16
	refs  int        // elements of backends that name it
	raw   bpf.Tunnel // as in the kernel
}

func newTunnels(m *ebpf.Map) (*tunnels, error) {
	x := &tunnels{
		m:       m,
		byAddr:  make(map[netip.Addr]*tunnel),
		byIndex: make(map[uint16]*tunnel),
		indices: newIndices(
			"tunnels are in use: no more ingress nodes can be reached, set penstock.dev/forwarding: nat where that will do",
			min(m.MaxEntries(), 1<<16)),
	}
	return x, x.indices.reserve(0) // which means that there is no tunnel
}

// adopt reads what the kernel holds.
func (x *tunnels) adopt() error {
	return walk(x.m, func(i uint32, raw bpf.Tunnel) error {
		if raw.Flags&bpf.TunnelUp == 0 || i == 0 || i >= x.indices.limit {
			return nil
		}
		addr := raw.Addr.Netip()
		if x.byAddr[addr] != nil {
			return nil // the backends that name it are written anew
		}
		x.add(&tunnel{addr: addr, index: uint16(i), raw: raw})
		return x.indices.reserve(i)
	})
}

func (x *tunnels) add(t *tunnel) { x.byAddr[t.addr], x.byIndex[t.index] = t, t }

// rawTunnel is the element for a node.
func rawTunnel(node netip.Addr, hop NextHop, dead bool) bpf.Tunnel {
	raw := bpf.Tunnel{Addr: bpf.AddrFrom(node), Nexthop: rawNexthop(hop), Flags: bpf.TunnelUp}
	if hop.Source.IsValid() {
		raw.Source = bpf.AddrFrom(hop.Source)
	}
	if dead {
		raw.Flags |= bpf.TunnelDead
	}
	return raw
}

// put makes the node's element what is wanted, in place, or takes a new one for it.
func (x *tunnels) put(node netip.Addr, want Want) (*tunnel, error) {
	t := x.byAddr[node]
	raw := rawTunnel(node, want.NextHops[node], want.Dead[node])
	if t != nil && raw.Source == (bpf.Addr{}) {
		raw.Source = t.raw.Source // for now nobody knows the way; the address is still its own
	}
	if t != nil && t.raw == raw {
		return t, nil
	}
	if t == nil {
		index, err := x.indices.take()
		if err != nil {
			return nil, err
		}
		t = &tunnel{addr: node, index: uint16(index)}
	}
	if err := x.m.Put(uint32(t.index), raw); err != nil {
		if x.byAddr[node] == nil {
			x.indices.put(uint32(t.index))
		}
		return nil, fmt.Errorf("tunnel to %s: %w", node, err)
	}
	t.raw = raw
	x.add(t)
	return t, nil
}

// refresh brings the elements that there are up to date.
func (x *tunnels) refresh(want Want) error {
	var errs []error
	for node := range x.byAddr {
		_, err := x.put(node, want)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// claim changes which tunnel a backend's element names.
func (x *tunnels) claim(was, now uint16) {
	if t := x.byIndex[now]; t != nil {
		t.refs++
	}
	if t := x.byIndex[was]; t != nil {
		t.refs--
	}
}

// idle are the tunnels that no backend names.
func (x *tunnels) idle() (idle []*tunnel) {
	for _, t := range x.byAddr {
		if t.refs == 0 {
			idle = append(idle, t)
		}
	}
	return idle
}

// remove empties an element, which is free after the next grace.
func (x *tunnels) remove(t *tunnel) error {
	if err := x.m.Put(uint32(t.index), bpf.Tunnel{}); err != nil {
		return fmt.Errorf("remove the tunnel to %s: %w", t.addr, err)
	}
	delete(x.byAddr, t.addr)
	delete(x.byIndex, t.index)
	return nil
}
