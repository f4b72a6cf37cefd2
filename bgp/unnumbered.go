package bgp

import (
	"context"
	"fmt"
	"net/netip"
)

// discover looks for routers on the devices of unnumbered peers. What does not work is logged, tried
// again, and in the peer's state: it is no error of a Sync.
func (s *Speaker) discover(ctx context.Context, peers []Peer) {
	var devices []string
	for _, p := range peers {
		if p.unnumbered() {
			devices = append(devices, p.Interface)
		}
	}
	_ = s.discovery.Sync(ctx, devices)
}

// router finds an unnumbered peer.
func (s *Speaker) router(device string) (netip.Addr, error) {
	addr, ok := s.discovery.Router(device)
	if !ok {
		return netip.Addr{}, fmt.Errorf("no router has advertised itself on device %s: let it send router advertisements there", device)
	}
	return addr, nil
}
