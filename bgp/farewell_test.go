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
				go keepAlive(t.Context(), conn)
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

// heardFarewell reads to the end. The last word is to be a Cease.
func heardFarewell(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	var said *wire.Notification
	for {
		m, err := wire.Read(conn)
		switch {
		case errors.Is(err, io.EOF) && said == nil:
			return errors.New("the end came without a word")
		case errors.Is(err, io.EOF) && (said.Code != wire.ErrCease || said.Subcode != wire.CeaseShutdown):
			return fmt.Errorf("%+v", said)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case said != nil:
			return fmt.Errorf("a message of type %d after %+v", m.Type, said)
		case m.Type == wire.TypeNotification:
			n := wire.ParseNotification(m.Body)
			said = &n
		}
	}
}
