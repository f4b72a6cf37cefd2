package rendezvous

import (
	"fmt"
	"testing"
)

const benchRows = 1 << 16

func weighted(n int) []Endpoint {
	eps := equal(n)
	for i := range eps {
		eps[i].Weight = uint32(1 + i%10)
	}
	return eps
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		for name, eps := range map[string][]Endpoint{"equal": equal(n), "weighted": weighted(n)} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					New(testSeed, benchRows).Set(eps)
				}
			})
		}
	}
}

func BenchmarkLeaveAndJoin(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		eps := equal(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := New(testSeed, benchRows)
			table.Set(eps)
			b.Run("leave", func(b *testing.B) {
				for b.Loop() {
					table.Set(eps[1:])
					b.StopTimer()
					table.Set(eps)
					b.StartTimer()
				}
			})
			b.Run("join", func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					table.Set(eps[1:])
					b.StartTimer()
					table.Set(eps)
				}
			})
		})
	}
}
