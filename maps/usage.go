package maps

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/penstock-lb/penstock/bpf"
)

// Usage tells how full the tables are that have a size. The keys
// datapath.maxRows, maxBackends, maxFrontends and maxSourceRanges, chains.max and chains.maxLearned
// set the totals.
type Usage struct {
	Rows      Fill `json:"rows"` // of lookup tables
	Backends  Fill `json:"backends"`
	Frontends Fill `json:"frontends"` // a VIP has an entry of its own beside them
	Sources   Fill `json:"sources"`   // ranges of clients that services are restricted to
	Chains    Fill `json:"chains"`    // different ones, each for any number of rows
	Tunnels   Fill `json:"tunnels"`   // to ingress nodes
	Learned   Fill `json:"learned"`   // flows that are known to be on a former owner; the oldest make room
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
		Sources:   Fill{Total: v.m.sources.MaxEntries()},
		Chains:    Fill{Total: v.m.chains.MaxEntries()},
		Tunnels:   Fill{Total: v.m.tunnels.MaxEntries() - 1},
	}
	chained := make(map[uint32]bool)
	for id := range v.m.regions.MaxEntries() {
		if r, ok := regionOf(v.published.get(id)); ok {
			u.Rows.Used += r.rows
			for row := r.base; row < min(r.base+r.rows, u.Rows.Total); row++ {
				if isChained(v.rows.get(row)) {
					chained[atomic.LoadUint32(v.ranked.chain(row))] = true
				}
			}
		}
	}
	u.Chains.Used = uint32(len(chained))
	var errs [5]error
	u.Backends.Used, errs[0] = count[bpf.BackendKey](v.m.backendIndices)
	u.Frontends.Used, errs[1] = count[bpf.FrontendKey](v.m.frontends)
	u.Sources.Used, errs[2] = count[bpf.SourceKey](v.m.sources)
	u.Learned, errs[3] = v.learned()
	errs[4] = walk(v.m.tunnels, func(_ uint32, raw bpf.Tunnel) error {
		u.Tunnels.Used += uint32(raw.Flags & bpf.TunnelUp)
		return nil
	})
	return u, errors.Join(errs[:]...)
}

func (v *View) learned() (Fill, error) {
	f := Fill{Total: v.m.learned.MaxEntries()}
	err := walkBatches(context.Background(), v.m.learned, func(keys []uint64, _ []bpf.LearnedOwner) error {
		f.Used += uint32(len(keys))
		return nil
	})
	return f, err
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

// learnedEvery is how old the count of what was learned may be: that is a walk through
// the whole table, and Usage may be asked for after each small change.
const learnedEvery = 10 * time.Second

// countLearned counts what the data path has learned, if nobody has lately.
func (t *Tables) countLearned() (Fill, error) {
	var err error
	if t.counted.at.IsZero() || time.Since(t.counted.at) >= learnedEvery {
		t.counted.learned, err = t.learned()
		t.counted.at = time.Now()
	}
	return t.counted.learned, err
}

// Usage is what the next Sync finds in use, without asking the kernel but, now and
// then, for what the data path has learned. What is about to be free counts as in use.
func (t *Tables) Usage() (Usage, error) {
	free := uint32(0)
	for k, bases := range t.regions.free {
		free += uint32(len(bases)) << k
	}
	learned, err := t.countLearned()
	return Usage{
		Rows:      Fill{t.regions.total - free, t.regions.total},
		Backends:  Fill{t.indices.limit - uint32(t.indices.free()), t.indices.limit},
		Frontends: Fill{uint32(len(t.frontends) + len(t.vips)), t.m.frontends.MaxEntries()},
		Sources:   Fill{t.sources.used, t.sources.limit},
		Chains:    Fill{t.chains.used(), uint32(len(t.chains.refs))},
		Tunnels:   Fill{uint32(len(t.tunnels.byAddr)), t.tunnels.indices.limit - 1},
		Learned:   learned,
	}, err
}
