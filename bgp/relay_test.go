package bgp

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
)

// A router that sent too many routes is let in again once there may be more, not minutes later.
func TestMoreMaxPrefixesEndThePause(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			router, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
			if err != nil {
				t.Fatal(err)
			}
			defer router.Close()
			at := router.Addr().(*net.TCPAddr).AddrPort()
			peer, err := Peer{Name: "tor", Address: at.Addr(), Port: at.Port(), ASN: 64512, MultihopTTL: 1, MaxPrefixes: 1}.normal()
			if err != nil {
				t.Fatal(err)
			}
			log := slog.New(slog.DiscardHandler)
			r := &relay{ownASN: 64513, log: log, peer: peer, history: newHistory(log, time.Now(), func() {})}
			r.pauseRestart()
			came := make(chan net.Conn, 1)
			go func() {
				if conn, _ := r.attempts(t.Context()); conn != nil {
					came <- conn
				}
			}()

			other := peer
			other.ConnectRetry++
			if err := r.configure(other); err != nil {
				t.Fatal(err)
			}
			if _, pause := r.current(); pause <= 0 {
				t.Error("an edit of something else ends the pause")
			}
			peer.MaxPrefixes = 2
			if err := r.configure(peer); err != nil {
				t.Fatal(err)
			}
			select {
			case conn := <-came:
				if got := conn.RemoteAddr().(*net.TCPAddr).AddrPort(); got != netip.AddrPortFrom(at.Addr(), at.Port()) {
					t.Errorf("connected to %s, want %s", got, at)
				}
				conn.Close()
			case <-time.After(20 * time.Second):
				t.Error("no attempt to connect after the edit")
			}
		})
	}
}
