package maps

import (
	"fmt"
	"math/bits"
	"slices"
)

// region is a run of rows: base is a multiple of rows, which is a power of two.
type region struct{ base, rows uint32 }

// regions is a buddy allocator. free[k] holds the bases of free runs of 2^k rows.
type regions struct {
	total uint32
	free  [32][]uint32
}

func newRegions(total uint32) *regions {
	r := &regions{total: total}
	for base := uint32(0); base < total; {
		k := bits.Len32(total-base) - 1
		if base != 0 {
			k = min(k, bits.TrailingZeros32(base))
		}
		r.free[k] = append(r.free[k], base)
		base += 1 << k
	}
	return r
}

// take returns the lowest of the smallest runs that fit.
func (r *regions) take(rows uint32) (region, error) {
	want := bits.TrailingZeros32(rows)
	for k := want; k < len(r.free); k++ {
		if len(r.free[k]) == 0 {
			continue
		}
		base := slices.Min(r.free[k])
		return region{base, rows}, r.reserve(region{base, rows})
	}
	return region{}, fmt.Errorf("no %d rows in a run are left of %d: raise datapath.maxRows", rows, r.total)
}

// reserve takes a region that is known.
func (r *regions) reserve(want region) error {
	if uint64(want.base)+uint64(want.rows) > uint64(r.total) {
		return fmt.Errorf("rows %d and %d more are beyond the table's %d", want.base, want.rows, r.total)
	}
	for k := bits.TrailingZeros32(want.rows); k < len(r.free); k++ {
		base := want.base &^ (1<<k - 1)
		i := slices.Index(r.free[k], base)
		if i < 0 {
			continue
		}
		r.free[k] = slices.Delete(r.free[k], i, i+1)
		for k--; 1<<k >= want.rows && k >= 0; k-- { // give back the halves that are not wanted
			half := want.base&^(1<<k-1) ^ 1<<k
			r.free[k] = append(r.free[k], half)
		}
		return nil
	}
	return fmt.Errorf("rows %d to %d are in use twice", want.base, want.base+want.rows-1)
}

func (r *regions) put(g region) {
	for k := bits.TrailingZeros32(g.rows); ; k++ {
		i := slices.Index(r.free[k], g.base^1<<k)
		if i < 0 || k == len(r.free)-1 {
			r.free[k] = append(r.free[k], g.base)
			return
		}
		r.free[k] = slices.Delete(r.free[k], i, i+1)
		g.base &^= 1 << k
	}
}

// indices hands out the lowest free number below a limit.
type indices struct {
	what  string // for errors: what runs out, and the key that sets the limit
	limit uint32
	words []uint64 // a bit for each number that is in use
	used  uint32
	next  uint32 // nothing below it is free
}

func newIndices(what string, limit uint32) *indices {
	return &indices{what: what, limit: limit, words: make([]uint64, (limit+63)/64)}
}

func (x *indices) take() (uint32, error) {
	for word := x.next / 64; word < uint32(len(x.words)); word++ {
		i := word*64 + uint32(bits.TrailingZeros64(^x.words[word]))
		if i < min((word+1)*64, x.limit) {
			x.next = i
			return i, x.reserve(i)
		}
	}
	x.next = x.limit
	return 0, fmt.Errorf("all %d %s", x.limit, x.what)
}

func (x *indices) free() int { return int(x.limit - x.used) }

func (x *indices) has(i uint32) bool { return i < x.limit && x.words[i/64]&(1<<(i%64)) != 0 }

func (x *indices) reserve(i uint32) error {
	if i >= x.limit || x.has(i) {
		return fmt.Errorf("index %d is in use twice", i)
	}
	x.words[i/64] |= 1 << (i % 64)
	x.used++
	return nil
}

func (x *indices) put(i uint32) {
	if !x.has(i) {
		return
	}
	x.words[i/64] &^= 1 << (i % 64)
	x.used--
	x.next = min(x.next, i)
}
