package maps

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
)

// slots is the array of rows, mapped into memory. Each row is written and read
// in one piece.
type slots struct {
	mem  []byte
	rows []uint32
}

func mapSlots(m *ebpf.Map, prot int) (*slots, error) {
	rows := int(m.MaxEntries() * bpf.SlotsPerLine)
	mem, err := unix.Mmap(m.FD(), 0, rows*4, prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map slots into memory: %w", err)
	}
	return &slots{mem, unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(mem))), rows)}, nil
}

func (s *slots) set(row, index uint32) {
	if p := &s.rows[row]; atomic.LoadUint32(p) != index {
		atomic.StoreUint32(p, index)
	}
}

func (s *slots) get(row uint32) uint32 { return atomic.LoadUint32(&s.rows[row]) }

func (s *slots) close() error { return unix.Munmap(s.mem) }
