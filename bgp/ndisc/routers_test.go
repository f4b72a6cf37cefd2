package ndisc

import (
	"net/netip"
	"testing"
	"time"
)

func TestRouters(t *testing.T) {
	var r routers
	at := time.Unix(1_700_000_000, 0)
	addr := func(i int) netip.Addr { return netip.AddrFrom16([16]byte{0xfe, 0x80, 15: byte(i)}).WithZone("eth0") }
	for i := range 100 { // somebody makes addresses up
		r.heard(addr(i), at.Add(time.Duration(i)*time.Second))
	}
	if len(r) != mostRouters {
		t.Errorf("%d routers", len(r))
	}
	if r.heard(addr(0), at.Add(time.Hour)) {
		t.Error("the first one is new")
	}
	r.expire(at.Add(time.Minute))
	if got, _ := r.chosen(); got != addr(0) || len(r) != 1 {
		t.Errorf("%d routers, the first is %s", len(r), got)
	}
	r.expire(at.Add(2 * time.Hour))
	if got, known := r.chosen(); known {
		t.Errorf("%s is still known", got)
	}
}
