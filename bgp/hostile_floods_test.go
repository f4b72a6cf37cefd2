package bgp_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bgp/wire"
)

// floods are many messages at once, also of random ones, which are the same in each run.
func floods() []hostileCase {
	return []hostileCase{
		{name: "flood of UPDATEs with 700 networks each", messages: func(r *rogue) [][]byte {
			var list [][]byte
			for i := range 300 {
				var networks strings.Builder
				for j := range 700 {
					n := i*700 + j
					fmt.Fprintf(&networks, "20 %02x%06x", 20+i%5, n)
				}
				list = append(list, update(origin+asPath+nextHop, networks.String()))
			}
			return list
		}},
		{name: "flood of KEEPALIVEs", messages: func(r *rogue) [][]byte {
			return [][]byte{bytes.Repeat(wire.Keepalive.Bytes(), 50000)}
		}},
		{name: "flood of ROUTE-REFRESH", family: bgp.IPv4, messages: func(r *rogue) [][]byte {
			return [][]byte{bytes.Repeat(wire.Message{Type: wire.TypeRouteRefresh, Body: bin("0001 00 01")}.Bytes(), 500)}
		}},
		{name: "random UPDATEs", messages: func(r *rogue) [][]byte { return randomUpdates(rand.New(rand.NewPCG(1, 2)), 3000) }},
		{name: "random bytes", messages: func(r *rogue) [][]byte {
			random := rand.New(rand.NewPCG(3, 4))
			b := make([]byte, 4096)
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			return [][]byte{b}
		}, code: 1, subcode: 1},
	}
}

// randomUpdates are those of the table with some bytes changed, or bytes by chance.
func randomUpdates(random *rand.Rand, n int) (list [][]byte) {
	var seeds [][]byte
	updates := hostileUpdates()
	for _, name := range slices.Sorted(maps.Keys(updates)) {
		seeds = append(seeds, updates[name])
	}
	for range n {
		m := slices.Clone(seeds[random.IntN(len(seeds))])
		for range 1 + random.IntN(6) {
			if len(m) > 19 {
				m[19+random.IntN(len(m)-19)] = byte(random.Uint32())
			}
		}
		list = append(list, m)
	}
	return list
}
