package config

import (
	"fmt"
	"time"
)

// maxLongLived is what the field's 24 bits hold (RFC 9494, section 3.1).
const maxLongLived = (1<<24 - 1) * time.Second

func (b *BGP) faults() (found faults) {
	found = append(found, b.lifecycle()...)
	if b.ASN != 0 || len(b.Peers) > 0 {
		checkASN(&found, "bgp.asn", b.ASN)
	}
	if id := b.RouterID; id.IsValid() && (!id.Is4() || id.IsUnspecified()) {
		found.add("bgp.routerID", id.String(), "write it as an IPv4 address other than 0.0.0.0")
	}
	// The field has 12 bits (RFC 4724, section 3).
	wholeSeconds(&found, "bgp.gracefulRestart.restartTime", b.GracefulRestart.RestartTime, time.Second, 4095*time.Second)
	within(&found, "bgp.listenPort", b.ListenPort, 1, 65535)
	g := b.GracefulRestart
	wholeSeconds(&found, "bgp.gracefulRestart.longLivedTime", g.LongLivedTime, 0, maxLongLived)
	if g.LongLivedTime != 0 && !g.Enabled {
		found.add("bgp.gracefulRestart.longLivedTime", g.LongLivedTime.String(), "it goes on from graceful restart, which is off; set bgp.gracefulRestart.enabled: true, or remove it")
	}
	for i := range b.Peers {
		found = append(found, b.Peers[i].faults(func(name string) string { return peerKey(i, name) })...)
		for j := range b.Peers[:i] {
			found = append(found, twins(&b.Peers[j], &b.Peers[i], j, i)...)
		}
	}
	return found
}

// checkASN refuses what no speaker may have: 0 (RFC 7607), AS_TRANS (RFC 6793)
// and the last ones (RFC 7300).
func checkASN(found *faults, key string, asn uint32) {
	switch asn {
	case 0:
		found.add(key, "", "write an autonomous system number; 64512–65534 and 4200000000–4294967294 are for private use")
	case 23456, 65535, 4294967295:
		found.add(key, fmt.Sprint(asn), "this number is reserved; 64512–65534 and 4200000000–4294967294 are for private use")
	}
}
