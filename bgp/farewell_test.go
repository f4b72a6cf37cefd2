package bgp_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/bgp/wire"
)

// A router hears why it is left whatever else is being told at that moment: one that does not keeps the
// routes, for it takes the end for a restart.
func TestFarewell(t *testing.T) {
	t.Parallel()
	for family := range loopbacks {
		for i := range 10 {
			t.Run(fmt.Sprintf("%s, %d", family, i), func(t *testing.T) {
				t.Parallel()
				r := newScripted(t, family)
				s := inProcess(t, 0, r.peer())
				conn := r.establish(t)
				heard := make(chan error, 1)
				go func() { heard <- heardFarewell(conn) }()
				waitState(t, s, bgp.Established)
				for round := range 20 { // so that GoBGP has much to say
					if err := s.Sync(t.Context(), manyPaths(family, 100+round)); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Stop(t.Context(), bgp.StopDrain, "maintenance"); err != nil {
					t.Fatal(err)
				}
				if err := <-heard; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// heardFarewell reads to the end, which is to be a Cease.
func heardFarewell(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	var last wire.Message
	for {
		m, err := wire.Read(conn)
		switch {
		case err == nil:
			last = m
			continue
		case !errors.Is(err, io.EOF):
			return err
		case last.Type != wire.TypeNotification:
			return fmt.Errorf("the last message is of type %d", last.Type)
		}
		if n := wire.ParseNotification(last.Body); n.Code != wire.ErrCease || n.Subcode != wire.CeaseShutdown {
			return fmt.Errorf("%+v", n)
		}
		return nil
	}
}
