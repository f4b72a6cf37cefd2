package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bgp"
)

const (
	gather      = 50 * time.Millisecond // from the first message of a batch to its evaluation
	resubscribe = time.Second           // pause after an error
)

var groups = []uint{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEXTHOP}

// Watcher knows the gateways. Make one with [New].
type Watcher struct {
	log     *slog.Logger
	changed chan struct{}

	mu    sync.Mutex // guards all below
	known map[bgp.Family][]netip.Addr
	reads int
}

// New returns a Watcher that knows no gateway before Run.
func New(log *slog.Logger) *Watcher {
	return &Watcher{log: log, changed: make(chan struct{}, 1), known: map[bgp.Family][]netip.Addr{}}
}

// Changed receives after Gateways has changed.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Gateways gives those of each family, sorted; link-local ones have their zone. Before Run has
// read them it reads them itself, in the namespace of the calling thread: who asks at a start
// would take there being none for an answer.
func (w *Watcher) Gateways() map[bgp.Family][]netip.Addr {
	w.mu.Lock()
	unread := w.reads == 0
	w.mu.Unlock()
	if unread {
		w.readOnce()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.known)
}

func (w *Watcher) readOnce() {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err == nil {
		defer h.Close()
		err = w.read(h)
	}
	if err != nil {
		w.log.Warn("default routes cannot be read, trying again", "err", err)
	}
}

// Run follows the routes of the calling goroutine's network namespace until ctx ends, and then
// returns nil. After an error what is known stays, and it subscribes and reads again.
func (w *Watcher) Run(ctx context.Context) error {
	told := ""
	for {
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err.Error() != told {
			w.log.Warn("default routes are not followed, trying again", "err", err)
		}
		told = err.Error()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(resubscribe):
		}
	}
}

// follow subscribes before it reads, so that no change falls between the two.
func (w *Watcher) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	defer h.Close()
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return fmt.Errorf("subscribe to routes: %w", err)
	}
	stop := context.AfterFunc(ctx, sock.Close)
	defer stop()
	defer sock.Close()
	doubt, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() { ended <- receive(sock, doubt) }()
	defer func() { cancel(); <-ended }()
	for {
		if err := w.read(h); err != nil {
			return err
		}
		select {
		case err := <-ended:
			ended <- err // for the deferred receive
			return err
		case <-doubt:
		}
		select { // what comes next is of the same change
		case <-ctx.Done():
		case <-time.After(gather):
		}
	}
}

// receive signals messages that may be of a default route until the socket fails or is closed.
func receive(sock *nl.NetlinkSocket, doubt chan<- struct{}) error {
	for {
		msgs, from, err := sock.Receive()
		if err != nil {
			return fmt.Errorf("receive routes: %w", err)
		}
		if from.Pid != 0 || !slices.ContainsFunc(msgs, concerns) {
			continue // not from the kernel, or of others
		}
		select {
		case doubt <- struct{}{}:
		default:
		}
	}
}

// concerns tells whether a message may be of a default route. In struct rtmsg the second byte
// is the length of the destination's prefix.
func concerns(m syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return len(m.Data) < unix.SizeofRtMsg || m.Data[1] == 0
	}
	return true
}

// read takes over what the kernel says. A dump that was interrupted is followed by the message
// of what interrupted it.
func (w *Watcher) read(h *netlink.Handle) error {
	found, err := read(h)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	if err != nil || maps.EqualFunc(found, w.known, slices.Equal) {
		return nil
	}
	w.log.Info("gateways of the default routes", "ipv4", found[bgp.IPv4], "ipv6", found[bgp.IPv6])
	w.known = found
	select {
	case w.changed <- struct{}{}:
	default:
	}
	return nil
}
