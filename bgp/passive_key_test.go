package bgp_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/test/fixture"
)

// A password that the kernel has no room for lets nobody in without it.
func TestPassivePeerWhosePasswordIsNotInForce(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1, 1)
	l.lbs[0].Run(t, "sysctl", "-q", "-w", "net.core.optmem_max=64") // of all options of a socket
	cfg := l.config(1)
	for i := range cfg.Peers {
		cfg.Peers[i].Passive, cfg.Peers[i].Password = true, "secret"
	}
	s := startSpeaker(t, l.lbs[0], cfg)
	s.sync(vipA4, vipA6)
	for i, addr := range []string{v4(1, 1, 2), v6(1, 1, 2)} {
		var conn net.Conn
		fixture.Wait(t, 10*time.Second, "the listener", func() error {
			return l.tors[0].Do(func() (err error) {
				conn, err = net.DialTimeout("tcp", net.JoinHostPort(addr, "179"), time.Second)
				return err
			})
		})
		closed(t, conn)
		fixture.Wait(t, 10*time.Second, "the reason", func() error {
			if got := s.peer(cfg.Peers[i].Name); got.State == bgp.Established || !strings.Contains(got.DownReason, "net.core.optmem_max") {
				return fmt.Errorf("%s, %q", got.State, got.DownReason)
			}
			return nil
		})
		conn.Close()
	}
}
