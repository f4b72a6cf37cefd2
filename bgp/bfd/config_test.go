package bfd_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/bgp/bfd"
)

func TestCheck(t *testing.T) {
	addr := netip.MustParseAddr
	for _, c := range []struct {
		name string
		edit func(s *bfd.Session)
		want string
	}{
		{"valid", func(*bfd.Session) {}, ""},
		{"mapped IPv4", func(s *bfd.Session) { s.Peer = addr("::ffff:192.0.2.1") }, ""},
		{"no name", func(s *bfd.Session) { s.Name = "" }, "no name"},
		{"no peer", func(s *bfd.Session) { s.Peer = netip.Addr{} }, "peer"},
		{"multicast", func(s *bfd.Session) { s.Peer = addr("ff02::1") }, `peer "ff02::1"`},
		{"link-local without interface", func(s *bfd.Session) { s.Peer = addr("fe80::1") }, "fe80::1%eth0"},
		{"link-local with zone", func(s *bfd.Session) { s.Peer = addr("fe80::1%lb") }, ""},
		{"link-local with interface", func(s *bfd.Session) { s.Peer, s.Interface = addr("fe80::1"), "lb" }, ""},
		{"two interfaces", func(s *bfd.Session) { s.Peer, s.Interface = addr("fe80::1%lb"), "eth0" }, "interface eth0 differ"},
		{"zone of a global address", func(s *bfd.Session) { s.Peer = addr("2001:db8::1%lb") }, "not link-local"},
		{"local of other family", func(s *bfd.Session) { s.Local = addr("2001:db8::1") }, "local address 2001:db8::1"},
		{"local on another interface", func(s *bfd.Session) { s.Peer, s.Local = addr("fe80::1%lb"), addr("fe80::2%eth0") }, "fe80::2%eth0"},
		{"long interface", func(s *bfd.Session) { s.Interface = "a-very-long-name" }, "15 bytes"},
		{"multihop on an interface", func(s *bfd.Session) { s.Multihop, s.Interface = true, "lb" }, "interface lb"},
		{"multihop link-local", func(s *bfd.Session) { s.Multihop, s.Peer = true, addr("fe80::1%lb") }, "interface lb"},
		{"multihop with TTL", func(s *bfd.Session) { s.Multihop, s.MinTTL = true, 250 }, ""},
		{"TTL of one hop", func(s *bfd.Session) { s.MinTTL = 250 }, "minimum TTL 250"},
		{"fast transmit", func(s *bfd.Session) { s.MinTx = 9 * time.Millisecond }, "transmit interval 9ms"},
		{"slow receive", func(s *bfd.Session) { s.MinRx = 61 * time.Second }, "receive interval 1m1s"},
		{"negative", func(s *bfd.Session) { s.MinRx = -time.Second }, "receive interval -1s"},
		{"nanoseconds", func(s *bfd.Session) { s.MinTx = 10*time.Millisecond + 1 }, "whole microseconds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := bfd.Session{Name: "tor1", Peer: addr("192.0.2.1")}
			c.edit(&s)
			err := s.Check()
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var named *bfd.SessionError
			if !errors.As(err, &named) || named.Name != s.Name || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want it to say %q", err, c.want)
			}
		})
	}
}

func TestSyncWithoutSockets(t *testing.T) {
	s := bfd.New(slog.New(slog.DiscardHandler), nil)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	err := s.Sync(ctx, []bfd.Session{
		{Name: "a", Peer: netip.MustParseAddr("192.0.2.1"), Interface: "no-such-device"},
		{Name: "a", Peer: netip.MustParseAddr("192.0.2.2")},
		{Name: "b"},
	})
	for _, want := range []string{`"a": interface no-such-device`, "another session has this name", `"b": peer`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want it to say %q", err, want)
		}
	}
	if states := s.States(); len(states) != 1 || states[0].Name != "a" || states[0].DownReason == "" {
		t.Errorf("states %+v", states)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if err := s.Sync(t.Context(), nil); !errors.Is(err, bfd.ErrStopped) {
		t.Errorf("Sync after the end of Run: %v", err)
	}
	if err := s.Stop(t.Context(), bfd.StopAdminDown); err != nil {
		t.Error(err)
	}
}

func TestStateJSON(t *testing.T) {
	want := bfd.SessionState{
		Name: "tor1", Peer: netip.MustParseAddr("fe80::1%eth0"), Local: netip.MustParseAddr("fe80::2%eth0"), Interface: "eth0",
		State: bfd.Up, RemoteState: bfd.Init, Diag: bfd.NoDiagnostic, RemoteDiag: bfd.Diag(17), Since: time.Unix(1, 0).UTC(),
		DownReason: "x", TxInterval: 50 * time.Millisecond, DetectionTime: 1500 * time.Millisecond, Discriminator: 1, RemoteDiscriminator: 2,
		Sent: 3, Received: 4, Dropped: map[bfd.Reason]uint64{bfd.BadTTL: 5}, Downs: map[bfd.Diag]uint64{bfd.DetectionTimeExpired: 6},
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`"state":"up"`, `"remoteDiag":"17"`, `"txIntervalSeconds":0.05`, `"detectionTimeSeconds":1.5`, `"downs":{"detectionTimeExpired":6}`, `"dropped":{"badTTL":5}`} {
		if !strings.Contains(string(b), text) {
			t.Errorf("%s is not in %s", text, b)
		}
	}
	var got bfd.SessionState
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}
