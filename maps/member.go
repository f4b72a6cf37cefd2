package maps

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
)

// members are the addresses that tunnel packets may come from and go to. Both
// roles have them.
type members struct {
	m    *ebpf.Map
	have map[netip.Addr]bpf.MemberFlags // in the kernel
}

func newMembers(m *ebpf.Map) *members {
	return &members{m: m, have: make(map[netip.Addr]bpf.MemberFlags)}
}

func (x *members) adopt() error {
	var key bpf.Addr
	var value bpf.Member
	it := x.m.Iterate()
	for it.Next(&key, &value) {
		x.have[key.Netip()] = value.Flags
	}
	return it.Err()
}

// memberFlags joins what is wanted of each address.
func memberFlags(want []Member) map[netip.Addr]bpf.MemberFlags {
	flags := make(map[netip.Addr]bpf.MemberFlags, len(want))
	for _, m := range want {
		f := flags[m.Addr.Unmap()]
		if m.Self {
			f |= bpf.MemberSelf
		}
		if m.LB {
			f |= bpf.MemberLB
		}
		if m.Backend {
			f |= bpf.MemberBackend
		}
		flags[m.Addr.Unmap()] = f
	}
	return flags
}

// sync makes the members those that are wanted: first what comes, then what goes.
func (x *members) sync(want []Member) error {
	var errs []error
	flags := memberFlags(want)
	for addr, f := range flags {
		if have, ok := x.have[addr]; ok && have == f {
			continue
		}
		if err := x.m.Put(bpf.AddrFrom(addr), bpf.Member{Flags: f}); err != nil {
			errs = append(errs, fmt.Errorf("member %s: %w", addr, err))
			continue
		}
		x.have[addr] = f
	}
	for addr := range x.have {
		if _, ok := flags[addr]; ok {
			continue
		}
		if err := ignoreMissing(x.m.Delete(bpf.AddrFrom(addr))); err != nil {
			errs = append(errs, fmt.Errorf("remove member %s: %w", addr, err))
			continue
		}
		delete(x.have, addr)
	}
	return errors.Join(errs...)
}
