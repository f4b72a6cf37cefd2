package chain

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const benchRows = 1 << 14

func BenchmarkSet(b *testing.B) {
	for _, n := range []int{10, 100} {
		b.Run(fmt.Sprintf("build/%d", n), func(b *testing.B) {
			eps := stable(n, epoch)
			for b.Loop() {
				New(testSeed, benchRows, defaults).Set(epoch, eps)
			}
		})
		b.Run(fmt.Sprintf("steady/%d", n), func(b *testing.B) {
			eps := stable(n, epoch)
			table := New(testSeed, benchRows, defaults)
			table.Set(epoch, eps)
			b.ReportAllocs()
			for b.Loop() {
				table.Set(epoch, eps)
			}
		})
		// One endpoint of an old set loses its readiness and gets it back.
		b.Run(fmt.Sprintf("flap/%d", n), func(b *testing.B) {
			eps := stable(n, epoch)
			table := New(testSeed, benchRows, defaults)
			table.Set(epoch, eps)
			other := slices.Clone(eps)
			other[0].EligibleSince = time.Time{}
			b.ReportAllocs()
			for b.Loop() {
				table.Set(epoch, other)
				eps, other = other, eps
			}
		})
		b.Run(fmt.Sprintf("rolling/%d", n), func(b *testing.B) { benchRolling(b, n) })
	}
}

// benchRolling replaces all endpoints one by one. Each step is four changes: one
// is created, gets ready, another one drains, and is gone.
func benchRolling(b *testing.B, n int) {
	b.ReportAllocs()
	sets, longest := 0, 0
	for b.Loop() {
		b.StopTimer()
		now, eps := epoch, stable(n, epoch)
		table := New(testSeed, benchRows, defaults)
		set := func() {
			now = now.Add(2 * time.Second)
			b.StartTimer()
			table.Set(now, eps)
			b.StopTimer()
			sets++
		}
		set()
		for i := range n {
			eps = append(slices.Clone(eps), Endpoint{ID: address(n + i), Weight: 1, BornAt: now})
			set()
			eps[len(eps)-1].EligibleSince = now
			set()
			eps[0].EligibleSince, eps[0].LostAt = time.Time{}, now
			set()
			eps = eps[1:]
			set()
		}
		longest = len(table.Lengths()) - 1
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sets), "ns/set")
	b.ReportMetric(float64(longest), "longest")
}
