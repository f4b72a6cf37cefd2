package maps

import (
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
)

// generationWords is the size of a generation of the learned filter.
const generationWords = 1 << (bpf.FilterOrder - 6)

// learnedFilter is the map of that name.
type learnedFilter struct {
	*memory[uint64]
	cleared uint32 // the latest generation, counted from the boot, that was emptied
}

func mapLearnedFilter(m *ebpf.Map) (learnedFilter, error) {
	mem, err := mapMemory[uint64](m, unix.PROT_READ|unix.PROT_WRITE)
	return learnedFilter{memory: mem}, err
}

// RotateLearned empties the coming generations of the learned filter, so that they
// hold nothing of their last time round when the data path turns to them. It is to
// be called at least once in each generation (275 s); where that fails, lookups are
// made in vain and nothing else happens.
func (t *Tables) RotateLearned() error {
	now, err := tick()
	if err == nil {
		t.filter.rotate(now)
	}
	return err
}

// rotate leaves the generation of the tick and the one before: those are in use.
func (f *learnedFilter) rotate(tick uint32) {
	current := tick >> bpf.FilterShift
	for ; f.cleared < current+bpf.FilterGenerations-2; f.cleared++ {
		f.cleared = max(f.cleared, current)
		words := f.words[(f.cleared+1)%bpf.FilterGenerations*generationWords:][:generationWords]
		for i := range words {
			if atomic.LoadUint64(&words[i]) != 0 {
				atomic.StoreUint64(&words[i], 0)
			}
		}
	}
}
