package hostile

import (
	"net/netip"
	"testing"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// The sweep takes flows that are over their time in both directions, and no other.
// rig's timeouts are 3 h for open TCP flows and 3 min for UDP.
func TestSweep(t *testing.T) {
	const hour, minute = 3600, 60 // in ticks, which are a little longer than seconds
	for name, c := range map[string]struct {
		proto          maps.Proto
		request, reply uint32 // how long ago each direction had its last packet
		deleted        int
	}{
		"in use":            {maps.TCP, 0, 0, 0},
		"open and idle":     {maps.TCP, 2 * hour, 2 * hour, 0},
		"only answers":      {maps.TCP, 9 * hour, 0, 0},
		"only requests":     {maps.UDP, 0, 9 * minute, 0},
		"over":              {maps.TCP, 4 * hour, 4 * hour, 2},
		"over, datagrams":   {maps.UDP, 4 * minute, 4 * minute, 2},
		"TCP lasts longer":  {maps.TCP, 4 * minute, 4 * minute, 0},
		"just within bound": {maps.UDP, 2 * minute, 2 * minute, 0},
	} {
		for _, three := range [][3]netip.AddrPort{{client4, vip4, pod4}, {client6, vip6, pod6}} {
			client, vip, pod := three[0], three[1], three[2]
			t.Run(name+"/"+vip.String(), func(t *testing.T) {
				r := newRig(t)
				r.sync(service("web", c.proto, vip, pod))
				var node netip.AddrPort
				if c.proto == maps.TCP {
					node, _ = r.handshake(client, vip)
				} else {
					node, _ = ends(r.is("forward", packet.UDP(client, vip, nil).Frame()))
				}
				r.age(client, vip, c.proto, c.request)
				r.age(pod, node, c.proto, c.reply)
				stats, err := r.tables.Sweep(t.Context())
				r.must(err)
				if stats.Scanned != 2 || stats.Deleted != c.deleted {
					t.Errorf("swept %+v, want 2 scanned and %d deleted", stats, c.deleted)
				}
				left, err := r.tables.Flows()
				r.must(err)
				if int(left.Entries) != 2-c.deleted {
					t.Errorf("%d entries left", left.Entries)
				}
			})
		}
	}
}
