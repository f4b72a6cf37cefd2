package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"

	"github.com/penstock-lb/penstock/bgp/wire"
)

// deferral is how long a restarted session waits for the router's End-of-RIB before it sends our
// routes; GoBGP's default of 360 s would keep new routes back that long.
const deferral = 10 * time.Second

// session is one peer with a GoBGP server of its own, and the relay between that and the router.
type session struct {
	name    string
	asn     uint32
	server  *server.BgpServer
	history *history
	relay   *relay

	work sync.Mutex // held by those who write to the server

	mu   sync.Mutex // held shortly, inside work if both are
	peer Peer
	want map[netip.Prefix]Path
	hops *hops                     // of the newest connection; nil before the first
	sent map[netip.Prefix]sentPath // what the server has
}

// sentPath is a path as the server has it.
type sentPath struct {
	attributes Attributes
	hop        netip.Addr
	since      time.Time
}

func (p sentPath) same(q sentPath) bool { return p.hop == q.hop && p.attributes.Equal(q.attributes) }

// newSession starts a server without a peer yet. GoBGP keeps two route selection options in globals
// that every start writes; ours are always the same.
func newSession(ctx context.Context, cfg Config, peer Peer, log *slog.Logger, hooks hooks, notify func()) (*session, error) {
	log = log.With("peer", peer.Name)
	s := &session{name: peer.Name, asn: peer.ownASN(cfg.ASN), peer: peer, sent: map[netip.Prefix]sentPath{}, history: newHistory(log, time.Now(), notify)}
	s.server = server.NewBgpServer(server.LoggerOption(&logger{log: log}))
	go s.server.Serve()
	err := s.server.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: cfg.ASN, RouterId: cfg.RouterID.String(), ListenPort: -1,
	}})
	if err != nil {
		return nil, fmt.Errorf("start BGP: %w", err)
	}
	if err := ownRoutesOnly(ctx, s.server); err != nil {
		return nil, err
	}
	hooks.ready, hooks.reset = s.ready, s.reset
	if s.relay, err = newRelay(cfg, peer, log, s.history, hooks); err != nil {
		return nil, errors.Join(err, s.server.StopBgp(ctx, &api.StopBgpRequest{}))
	}
	return s, nil
}

// open adds the peer, after which GoBGP connects to the relay.
func (s *session) open(ctx context.Context, gr GracefulRestart, restarting bool) error {
	peer := apiPeer(s.config(), s.relay.innerPort(), gr, restarting)
	if err := s.server.AddPeer(ctx, &api.AddPeerRequest{Peer: peer}); err != nil {
		return fmt.Errorf("add peer: %w", err)
	}
	return nil
}

// ready has a connection's paths in the server before the router lets GoBGP send them, since the
// End-of-RIB follows at once, see doc.go.
func (s *session) ready(local netip.Addr) {
	hops := s.config().hops(local)
	s.mu.Lock()
	s.hops = &hops
	s.mu.Unlock()
	for f, why := range hops.lacks {
		s.relay.log.Warn("no routes of a family are announced", "family", f, "reason", why)
	}
	if err := s.apply(context.Background()); err != nil {
		s.relay.log.Warn("some paths are not announced", "err", err)
	}
}

// reset has an established GoBGP end its side at once, since it idles for 5 s after an end that it was not
// told of, and for as long as it is configured after a reset.
func (s *session) reset() {
	established := false
	request := &api.ListPeerRequest{}
	_ = s.server.ListPeer(context.Background(), request, func(p *api.Peer) { // from memory; a nil request is its only error
		established = p.GetState().GetSessionState() == api.PeerState_ESTABLISHED
	})
	if established {
		_ = s.server.ResetPeer(context.Background(), &api.ResetPeerRequest{Address: innerAddr(s.config().family()).String()})
	}
}

// config is the peer as it is configured now.
func (s *session) config() Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer
}

// update takes over what of the peer can change under a session.
func (s *session) update(ctx context.Context, peer Peer) error {
	s.mu.Lock()
	s.peer = peer
	s.mu.Unlock()
	s.findHops(peer)
	return errors.Join(s.relay.configure(peer), s.apply(ctx))
}

// lacks tells whether a family has no next hop.
func (s *session) lacks() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hops != nil && len(s.hops.lacks) > 0
}

// findHops looks anew for the next hops of the connection that there is, if any.
func (s *session) findHops(peer Peer) {
	local, _ := s.history.ends()
	if !local.IsValid() {
		return
	}
	hops := peer.hops(local) // asks the kernel, and so not under mu
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, _ := s.history.ends(); now == local { // else ready has the newer ones, or will
		s.hops = &hops
	}
}

// sync makes want what this session's router is to have; see apply.
func (s *session) sync(ctx context.Context, want map[netip.Prefix]Path) error {
	s.mu.Lock()
	s.want = want
	s.mu.Unlock()
	return s.apply(ctx)
}

// apply makes the server's paths the wanted ones. Withdrawals go last, so that what takes the place of a
// path is there before that goes. One that fails does not stop the others. Before the first connection nothing is known of next hops, and nothing announced.
func (s *session) apply(ctx context.Context) error {
	s.work.Lock()
	defer s.work.Unlock()
	s.mu.Lock()
	peer, want, hops, sent := s.peer, s.want, s.hops, maps.Clone(s.sent)
	s.mu.Unlock()
	next, now := map[netip.Prefix]sentPath{}, time.Now()
	for prefix, path := range want {
		attributes, offered := path.For(peer.Name)
		if offered && hops != nil && hops.addrs[familyOf(prefix.Addr())].IsValid() {
			next[prefix] = sentPath{attributes.told(peer.ASN == s.asn), hops.addrs[familyOf(prefix.Addr())], now}
		}
	}
	var errs []error
	for prefix, path := range next {
		if have, ok := sent[prefix]; !ok || !have.same(path) {
			errs = append(errs, s.each(ctx, prefix, path, s.announce))
		}
	}
	for prefix, path := range sent {
		if _, ok := next[prefix]; !ok {
			errs = append(errs, s.each(ctx, prefix, path, s.withdraw))
		}
	}
	return errors.Join(errs...)
}

func (s *session) each(ctx context.Context, prefix netip.Prefix, path sentPath, do func(context.Context, netip.Prefix, sentPath) error) error {
	err := ctx.Err()
	if err == nil {
		err = do(ctx, prefix, path)
	}
	if err != nil {
		return &PathError{Prefix: prefix, Peer: s.name, Err: err}
	}
	return nil
}

// announce puts a path in, in the place of an older one of the prefix.
func (s *session) announce(ctx context.Context, prefix netip.Prefix, path sentPath) error {
	p, err := apiPath(prefix, path, s.asn)
	if err != nil {
		return err
	}
	if _, err := s.server.AddPath(ctx, &api.AddPathRequest{TableType: api.TableType_GLOBAL, Path: p}); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[prefix] = path
	return nil
}

// withdraw names the path by its value: a request without one would withdraw everything.
func (s *session) withdraw(ctx context.Context, prefix netip.Prefix, path sentPath) error {
	p, err := apiPath(prefix, path, s.asn)
	if err != nil {
		return err
	}
	if p == nil || p.Nlri == nil {
		return errors.New("withdraw: refused, because a request without a path withdraws everything")
	}
	if err := s.server.DeletePath(ctx, &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Path: p}); err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sent, prefix)
	return nil
}

// close ends the session with a Cease, which overrules graceful restart. It returns when the router has
// closed its end, too, or half a second after the Cease is with the kernel.
func (s *session) close(ctx context.Context, reason string, n wire.Notification) error {
	stopped := make(chan error, 1)
	go func() {
		s.relay.shut(reason, n)
		stopped <- s.server.StopBgp(context.WithoutCancel(ctx), &api.StopBgpRequest{})
	}()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		return fmt.Errorf("stop BGP: %w", ctx.Err())
	}
}

// apiPeer is the relay as GoBGP sees it, with what the router is to be told.
func apiPeer(p Peer, port int, gr GracefulRestart, restarting bool) *api.Peer {
	inner := innerAddr(p.family()).String()
	peer := &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: inner, PeerAsn: p.ASN, LocalAsn: p.LocalASN},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime: seconds(p.HoldTime), KeepaliveInterval: seconds(p.KeepaliveTime), ConnectRetry: 1,
			IdleHoldTimeAfterReset: 1,
		}},
		Transport: &api.Transport{LocalAddress: inner, RemotePort: uint32(port)},
	}
	if gr.Enabled {
		peer.GracefulRestart = &api.GracefulRestart{
			Enabled: true, RestartTime: uint32(seconds(gr.RestartTime)), DeferralTime: uint32(seconds(deferral)),
			LocalRestarting: restarting, LonglivedEnabled: gr.LongLived != 0,
		}
	}
	for _, f := range p.Families {
		family := &api.AfiSafi{
			Config:            &api.AfiSafiConfig{Family: f.api(), Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: gr.Enabled}},
		}
		if gr.LongLived != 0 {
			family.LongLivedGracefulRestart = &api.LongLivedGracefulRestart{Config: &api.LongLivedGracefulRestartConfig{
				Enabled: true, RestartTime: uint32(seconds(gr.LongLived)),
			}}
		}
		peer.AfiSafis = append(peer.AfiSafis, family)
	}
	return peer
}

func seconds(d time.Duration) uint64 { return uint64(d / time.Second) }
