package maps

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
)

// Usage tells how full the tables are that have a size. The keys
// datapath.maxRows, maxBackends and maxFrontends set the totals.
type Usage struct {
	Rows      Fill `json:"rows"` // of lookup tables
	Backends  Fill `json:"backends"`
	Frontends Fill `json:"frontends"` // a VIP has an entry of its own beside them
}

// Fill is how much of a table is in use.
type Fill struct {
	Used  uint32 `json:"used"`
	Total uint32 `json:"total"`
}

// Usage counts what the kernel has.
func (v *View) Usage() (Usage, error) {
	u := Usage{
		Rows:      Fill{Total: v.m.slots.MaxEntries() * bpf.SlotsPerLine},
		Backends:  Fill{Total: v.m.backends.MaxEntries()},
		Frontends: Fill{Total: v.m.frontends.MaxEntries()},
	}
	for id := range v.m.regions.MaxEntries() {
		if r, ok := regionOf(v.published.get(id)); ok {
			u.Rows.Used += r.rows
		}
	}
	var errs [2]error
	u.Backends.Used, errs[0] = count[bpf.BackendKey](v.m.backendIndices)
	u.Frontends.Used, errs[1] = count[bpf.FrontendKey](v.m.frontends)
	return u, errors.Join(errs[:]...)
}

func count[K any](m *ebpf.Map) (n uint32, err error) {
	var key K
	err = m.NextKey(nil, &key)
	for ; err == nil && n < m.MaxEntries(); err = m.NextKey(key, &key) { // deletions may start it anew
		n++
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return n, fmt.Errorf("count %s: %w", m, err)
	}
	return n, nil
}

// Usage is what the next Sync finds in use, without asking the kernel. What is
// about to be free counts as in use.
func (t *Tables) Usage() (Usage, error) {
	free := uint32(0)
	for k, bases := range t.regions.free {
		free += uint32(len(bases)) << k
	}
	return Usage{
		Rows:      Fill{t.regions.total - free, t.regions.total},
		Backends:  Fill{t.indices.limit - uint32(t.indices.free()), t.indices.limit},
		Frontends: Fill{uint32(len(t.frontends) + len(t.vips)), t.m.frontends.MaxEntries()},
	}, nil
}
