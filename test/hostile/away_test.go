package hostile

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// A row changes while a packet is away to one of its owners: whom the positions name is another then. The
// packet finds its flow all the same, whichever was asked and whichever of those before is gone.
func TestRowChangesWhileAPacketIsAway(t *testing.T) {
	const owners = 5
	for name, f := range families {
		for _, outer6 := range []bool{false, true} {
			r := newRig(t)
			all := direct("web", maps.TCP, f.vip, owners, outer6)
			full := r.wantDirect(all)
			for away := range owners - 1 {
				for gone := range away {
					t.Run(fmt.Sprintf("%s, over IPv6 %v, %d asked, of them %d is gone", name, outer6, away+1, gone), func(t *testing.T) {
						r.t = t
						r.must(r.tables.Sync(t.Context(), full))
						r.forgetLearned()
						asked := []packet.Opened{r.opened("encap", packet.TCP(f.client, f.vip, packet.ACK, nil).Frame())}
						for len(asked) < owners {
							asked = append(asked, r.opened("encap_next", back(asked[len(asked)-1]).Frame()))
						}
						pods := map[netip.AddrPort]bool{}
						for _, o := range asked {
							pods[o.Pod] = true
						}
						if len(pods) != owners {
							t.Fatalf("asked %v, want each once", pods)
						}
						rest := all
						rest.Backends = slices.DeleteFunc(slices.Clone(all.Backends), func(b maps.Backend) bool { return b.Addr == asked[gone].Pod })
						want := r.wantDirect(rest)
						want.Members = full.Members
						r.must(r.tables.Sync(t.Context(), want))
						owner, at := asked[owners-1].Pod, asked[away]
						for turn := 0; at.Pod != owner; turn++ {
							if turn > owners || at.Flags&packet.Accept != 0 {
								t.Fatalf("the flow is on %s, and after %d more turns its packet goes to %s, flags %d", owner, turn, at.Pod, at.Flags)
							}
							at = r.opened("encap_next", back(at).Frame())
						}
					})
				}
			}
		}
	}
}
