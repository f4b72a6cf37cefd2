package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
)

// deferral is how long a restarted session waits for the router's End-of-RIB before it sends our
// routes; GoBGP's default of 360 s would keep new routes back that long.
const deferral = 10 * time.Second

// session is one peer with a GoBGP server of its own. Its methods are not called concurrently, except
// those in view.go.
type session struct {
	peer    Peer
	server  *server.BgpServer
	history *history

	mu   sync.Mutex
	sent map[netip.Prefix]struct{} // what the server has
}

// newSession starts a server without a peer yet. GoBGP keeps two route selection options in globals
// that every start writes; ours are always the same.
func newSession(ctx context.Context, cfg Config, peer Peer, log *slog.Logger, changed func()) (*session, error) {
	h := newHistory(time.Now(), changed)
	log = log.With("peer", peer.Name, "address", peer.Address)
	srv := server.NewBgpServer(server.LoggerOption(&logger{log: log, history: h, password: peer.Password != ""}))
	go srv.Serve()
	err := srv.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: cfg.ASN, RouterId: cfg.RouterID.String(), ListenPort: -1,
	}})
	if err != nil {
		return nil, fmt.Errorf("start BGP: %w", err)
	}
	if err := ownRoutesOnly(ctx, srv); err != nil {
		return nil, err
	}
	return &session{peer: peer, server: srv, history: h, sent: map[netip.Prefix]struct{}{}}, nil
}

// open adds the peer, after which GoBGP connects. The paths must be in already, see doc.go.
func (s *session) open(ctx context.Context, gr GracefulRestart, restarting bool) error {
	if err := s.server.AddPeer(ctx, &api.AddPeerRequest{Peer: apiPeer(s.peer, gr, restarting)}); err != nil {
		return fmt.Errorf("add peer: %w", err)
	}
	return nil
}

// sync makes the server's paths the wanted ones; withdrawals go first. One that fails does not stop
// the others.
func (s *session) sync(ctx context.Context, want map[netip.Prefix]struct{}) error {
	var errs []error
	sent := s.announced()
	for prefix := range sent {
		if _, ok := want[prefix]; !ok {
			errs = append(errs, s.each(ctx, prefix, s.withdraw))
		}
	}
	for prefix := range want {
		if _, ok := sent[prefix]; !ok && s.peer.carries(prefix) {
			errs = append(errs, s.each(ctx, prefix, s.announce))
		}
	}
	return errors.Join(errs...)
}

func (s *session) each(ctx context.Context, prefix netip.Prefix, do func(context.Context, netip.Prefix) error) error {
	err := ctx.Err()
	if err == nil {
		err = do(ctx, prefix)
	}
	if err != nil {
		return &PathError{Prefix: prefix, Peer: s.peer.Name, Err: err}
	}
	return nil
}

func (s *session) announce(ctx context.Context, prefix netip.Prefix) error {
	path, err := apiPath(prefix, s.peer.nextHop(familyOf(prefix.Addr())))
	if err != nil {
		return err
	}
	if _, err := s.server.AddPath(ctx, &api.AddPathRequest{TableType: api.TableType_GLOBAL, Path: path}); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[prefix] = struct{}{}
	return nil
}

// withdraw names the path by its value: a request without one would withdraw everything.
func (s *session) withdraw(ctx context.Context, prefix netip.Prefix) error {
	path, err := apiPath(prefix, s.peer.nextHop(familyOf(prefix.Addr())))
	if err != nil {
		return err
	}
	if path == nil || path.Nlri == nil {
		return errors.New("withdraw: refused, because a request without a path withdraws everything")
	}
	if err := s.server.DeletePath(ctx, &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Path: path}); err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sent, prefix)
	return nil
}

// close withdraws everything and ends the session with a Cease, which overrules graceful restart. It
// returns when the Cease is with the kernel.
func (s *session) close(ctx context.Context) error {
	err := s.sync(ctx, nil)
	stopped := make(chan error, 1)
	go func() { stopped <- s.server.StopBgp(context.WithoutCancel(ctx), &api.StopBgpRequest{}) }()
	select {
	case stopErr := <-stopped:
		return errors.Join(err, stopErr)
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("stop BGP: %w", ctx.Err()))
	}
}

func apiPeer(p Peer, gr GracefulRestart, restarting bool) *api.Peer {
	peer := &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: p.Address.String(), PeerAsn: p.ASN, AuthPassword: p.Password},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime: seconds(p.HoldTime), KeepaliveInterval: seconds(p.KeepaliveTime), ConnectRetry: seconds(p.ConnectRetry),
		}},
		Transport:    &api.Transport{},
		EbgpMultihop: &api.EbgpMultihop{Enabled: p.MultihopTTL != 0, MultihopTtl: uint32(p.MultihopTTL)},
		TtlSecurity:  &api.TtlSecurity{Enabled: p.TTLSecurity, TtlMin: directTTL},
	}
	if p.LocalAddress.IsValid() {
		peer.Transport.LocalAddress = p.LocalAddress.String()
	}
	if gr.Enabled {
		peer.GracefulRestart = &api.GracefulRestart{
			Enabled: true, RestartTime: uint32(seconds(gr.RestartTime)), DeferralTime: uint32(seconds(deferral)),
			LocalRestarting: restarting,
		}
	}
	for _, f := range p.Families {
		peer.AfiSafis = append(peer.AfiSafis, &api.AfiSafi{
			Config:            &api.AfiSafiConfig{Family: f.api(), Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: gr.Enabled}},
		})
	}
	return peer
}

// directTTL is the TTL of a packet that no router has forwarded, RFC 5082 section 3.
const directTTL = 255

func seconds(d time.Duration) uint64 { return uint64(d / time.Second) }
