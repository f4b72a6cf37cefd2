package maps

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
)

// memory is an array map in this process's address space, as words that are
// written and read in one piece.
type memory[W uint32 | uint64] struct {
	mapped []byte
	words  []W
}

func mapMemory[W uint32 | uint64](m *ebpf.Map, prot int) (*memory[W], error) {
	size := int(m.MaxEntries()) * int(m.ValueSize())
	mapped, err := unix.Mmap(m.FD(), 0, size, prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s into memory: %w", m, err)
	}
	words := unsafe.Slice((*W)(unsafe.Pointer(unsafe.SliceData(mapped))), size/int(unsafe.Sizeof(W(0))))
	return &memory[W]{mapped, words}, nil
}

func (m *memory[W]) close() error {
	if m == nil { // not mapped so far
		return nil
	}
	return unix.Munmap(m.mapped)
}

// slots are the rows of all lookup tables.
type slots struct{ *memory[uint32] }

func mapSlots(m *ebpf.Map, prot int) (slots, error) {
	mem, err := mapMemory[uint32](m, prot)
	return slots{mem}, err
}

func (s slots) set(row, index uint32) {
	if p := &s.words[row]; atomic.LoadUint32(p) != index {
		atomic.StoreUint32(p, index)
	}
}

func (s slots) get(row uint32) uint32 { return atomic.LoadUint32(&s.words[row]) }

// regionTable is the array of regions by service.
type regionTable struct{ *memory[uint64] }

func mapRegions(m *ebpf.Map, prot int) (regionTable, error) {
	mem, err := mapMemory[uint64](m, prot)
	return regionTable{mem}, err
}

func (t regionTable) set(service uint32, r bpf.Region) {
	atomic.StoreUint64(&t.words[service], *(*uint64)(unsafe.Pointer(&r)))
}

func (t regionTable) get(service uint32) bpf.Region {
	word := atomic.LoadUint64(&t.words[service])
	return *(*bpf.Region)(unsafe.Pointer(&word))
}

// counterWord is an array of one number.
type counterWord struct{ *memory[uint64] }

func mapCounterWord(m *ebpf.Map) (counterWord, error) {
	mem, err := mapMemory[uint64](m, unix.PROT_READ|unix.PROT_WRITE)
	return counterWord{mem}, err
}

func (w counterWord) add() { atomic.AddUint64(&w.words[0], 1) }
