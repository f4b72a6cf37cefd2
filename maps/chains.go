package maps

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
)

// noOwner is the row that has nobody. As an index of chains it is beyond all.
const noOwner = ^uint32(0)

// chainWords is the size of an element of chains.
const chainWords = 1 + bpf.ChainMax

// chains hands out the elements of the map, one for each content that any row
// has. An element does not change while rows name it, nor for as long as a
// program may run that read such a row.
type chains struct {
	*memory[uint32]
	refs  []uint32 // by element: the rows that name it
	taken []bool   // by element: it has a content
	index map[bpf.Chain]uint32
	free  []uint32 // the next one to take is last
	freed []uint32 // no row names them any more; not to be changed before reuse
}

func mapChains(m *ebpf.Map) (*chains, error) {
	mem, err := mapMemory[uint32](m, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return nil, err
	}
	n := m.MaxEntries()
	return &chains{memory: mem, refs: make([]uint32, n), taken: make([]bool, n), index: make(map[bpf.Chain]uint32)}, nil
}

// adopt counts a row that names an element. The free ones are known after settle.
func (c *chains) adopt(index uint32) error {
	if index >= uint32(len(c.refs)) {
		return fmt.Errorf("chain %d of %d", index, len(c.refs))
	}
	if !c.taken[index] {
		content := c.get(index)
		if content.Count == 0 || content.Count > uint32(bpf.ChainMax) {
			return fmt.Errorf("chain %d has %d owners, of 1 to %d", index, content.Count, bpf.ChainMax)
		}
		c.taken[index] = true
		if _, twice := c.index[content]; !twice {
			c.index[content] = index
		}
	}
	c.refs[index]++
	return nil
}

// settle makes all elements free that no row was found to name.
func (c *chains) settle() {
	for i := range slices.Backward(c.taken) {
		if !c.taken[i] {
			c.free = append(c.free, uint32(i))
		}
	}
}

// take returns the element with these owners, for one more row. It is false if
// there is none and all are in use.
func (c *chains) take(owners []uint32) (uint32, bool) {
	content := bpf.Chain{Count: uint32(len(owners))}
	copy(content.Owners[:], owners)
	index, ok := c.index[content]
	if !ok {
		n := len(c.free)
		if n == 0 {
			return 0, false
		}
		index, c.free = c.free[n-1], c.free[:n-1]
		c.set(index, content)
		c.index[content], c.taken[index] = index, true
	}
	c.refs[index]++
	return index, true
}

// release takes back one row's claim to an element.
func (c *chains) release(index uint32) {
	if c.refs[index]--; c.refs[index] == 0 {
		c.freed = append(c.freed, index)
	}
}

// reuse gives back what was released, but for what rows came to want again. To be
// called when no program can still read those elements.
func (c *chains) reuse() {
	for _, i := range c.freed {
		if c.refs[i] > 0 || !c.taken[i] {
			continue
		}
		if content := c.get(i); c.index[content] == i {
			delete(c.index, content)
		}
		c.taken[i] = false
		c.free = append(c.free, i)
	}
	c.freed = c.freed[:0]
}

func (c *chains) used() uint32 { return uint32(len(c.refs) - len(c.free)) }

func (c *chains) get(index uint32) (content bpf.Chain) {
	words := c.words[int(index)*chainWords:][:chainWords]
	content.Count = words[0]
	copy(content.Owners[:], words[1:])
	return content
}

func (c *chains) set(index uint32, content bpf.Chain) {
	words := c.words[int(index)*chainWords:][:chainWords]
	for i, owner := range content.Owners {
		atomic.StoreUint32(&words[1+i], owner)
	}
	atomic.StoreUint32(&words[0], content.Count)
}

// ranks is by row whom to ask after its chain, and where the chain is.
type ranks struct{ *memory[uint32] }

func mapRanks(m *ebpf.Map, prot int) (ranks, error) {
	mem, err := mapMemory[uint32](m, prot)
	return ranks{mem}, err
}

// rankWords is the size of an element of ranks.
const rankWords = bpf.RanksMax + 1

// at is whom to ask, where 0 is nobody.
func (r ranks) at(row uint32) []uint32 { return r.words[int(row)*rankWords:][:bpf.RanksMax] }

// chain is the element of chains of a row that is chained. It means nothing for
// others, of which packets may still be about that saw the row chained.
func (r ranks) chain(row uint32) *uint32 { return &r.words[int(row)*rankWords+bpf.RanksMax] }

// set makes the row's owners these backends. Those that stay move up or down, as others
// come and go before them: each is at its new place before its old one is given away.
func (r ranks) set(row uint32, owners []uint32) {
	var want [bpf.RanksMax]uint32
	for i := range min(len(owners), bpf.RanksMax) {
		want[i] = owners[i] + 1
	}
	have := r.at(row)
	for moved := true; moved; {
		moved = false
		for i, word := range want {
			stays := slices.Contains(want[:], have[i]) && !slices.Contains(have[:i], have[i]) && !slices.Contains(have[i+1:], have[i])
			if have[i] != word && (!stays || have[i] == 0) {
				atomic.StoreUint32(&have[i], word)
				moved = true
			}
		}
	}
	for i, word := range want { // none is left, but where two change places
		if have[i] != word {
			atomic.StoreUint32(&have[i], word)
		}
	}
}

// has says whether the row's owners include a backend.
func (r ranks) has(row, owner uint32) bool { return slices.Contains(r.at(row), owner+1) }
