package bgp_test

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bgp/wire"
	"github.com/penstock-lb/penstock/test/fixture"
)

// manyPaths are of one family.
func manyPaths(family bgp.Family, n int) (list []bgp.Path) {
	for i := range n {
		addr := netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})
		if family == bgp.IPv6 {
			addr = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i >> 8), 15: byte(i)})
		}
		list = append(list, bgp.Path{Prefix: netip.PrefixFrom(addr, addr.BitLen())})
	}
	return list
}

// A router that asks for all routes without end costs neither memory nor other routers' time, whether it
// takes the answers or not.
func TestFloodOfRefreshes(t *testing.T) {
	for family, afi := range map[bgp.Family]byte{bgp.IPv4: 1, bgp.IPv6: 2} {
		for _, reads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, taken %v", family, reads), func(t *testing.T) {
				r := newScripted(t, family)
				s := inProcess(t, 0, r.peer())
				list := manyPaths(family, 3000)
				if err := s.Sync(t.Context(), list); err != nil {
					t.Fatal(err)
				}
				conn := r.establish(t)
				waitState(t, s, bgp.Established)
				if reads {
					go func() { _, _ = io.Copy(io.Discard, conn) }()
				}
				before := heapMiB()
				flood := bytes.Repeat(wire.Message{Type: wire.TypeRouteRefresh, Body: []byte{0, afi, 0, 1}}.Bytes(), 100)
				for range 400 {
					if _, err := conn.Write(flood); err != nil {
						t.Fatal(err)
					}
				}
				began := time.Now()
				if err := s.Sync(t.Context(), list[:1]); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("withdrawals took %s", took)
				}
				if after := heapMiB(); after > before+100 {
					t.Errorf("%d MiB, from %d", after, before)
				}
			})
		}
	}
}

func heapMiB() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc >> 20)
}

// A router that keeps the session alive and takes nothing has not what we say that it has. Little of ours is
// under way, far less than what our buffers hold.
func TestRouterThatTakesNothing(t *testing.T) {
	t.Parallel()
	for family := range loopbacks {
		t.Run(string(family), func(t *testing.T) {
			t.Parallel()
			r := newScripted(t, family)
			r.takesLittle(t)
			s := inProcess(t, 0, r.peer())
			conn := r.establish(t)
			waitState(t, s, bgp.Established)
			began := time.Now()
			go keepAlive(t.Context(), conn)
			if err := s.Sync(t.Context(), manyPaths(family, 3000)); err != nil {
				t.Fatal(err)
			}
			fixture.Wait(t, 180*time.Second, "the end of the session", func() error {
				if got := s.Peers()[0]; got.Flaps == 0 {
					return fmt.Errorf("%s", got.State)
				}
				return nil
			})
			if got := s.Peers()[0]; got.DownReason != "the router takes nothing any more" {
				t.Errorf("%+v", got)
			}
			if after, least := time.Since(began), 2*r.peer().HoldTime; after < least {
				t.Errorf("ended after %s, before %s", after, least)
			}
		})
	}
}
