package nexthop

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	gather       = 50 * time.Millisecond  // from the first event of a batch to its evaluation
	resubscribe  = 200 * time.Millisecond // pause after an error
	relookup     = time.Minute            // all routes: some changes have no event, such as an expired path MTU
	receiveBytes = 4 << 20
)

var groups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
	unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE,
	unix.RTNLGRP_NEXTHOP,
}

// Run follows the kernel's tables until ctx ends, and then returns nil. After an error, such as events lost to
// a full socket buffer, it subscribes anew and reads everything again.
func (r *Resolver) Run(ctx context.Context) error {
	for {
		err := r.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		r.log.Warn("netlink subscription lost, subscribing again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(resubscribe):
		}
	}
}

// follow subscribes before it reads, so that no change falls between the two.
func (r *Resolver) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return fmt.Errorf("subscribe to routes, neighbours and links: %w", err)
	}
	stop := context.AfterFunc(ctx, sock.Close)
	defer stop()
	defer sock.Close()
	if sock.SetReceiveBufferSize(receiveBytes, true) != nil {
		r.log.Debug("netlink receive buffer stays at its default: no CAP_NET_ADMIN")
	}
	if err := r.startFollowing(); err != nil {
		return err
	}
	defer r.stopFollowing()

	batches := make(chan []syscall.NetlinkMessage, 16)
	ended := make(chan error, 1)
	go func() { ended <- receive(ctx, sock, batches) }()
	err = r.evaluate(ctx, batches, ended)
	cancel()
	return err
}

// receive passes the kernel's messages on until the socket fails or ctx closes it.
func receive(ctx context.Context, sock *nl.NetlinkSocket, batches chan<- []syscall.NetlinkMessage) error {
	for {
		msgs, from, err := sock.Receive()
		if err != nil {
			return err
		}
		if from.Pid != 0 {
			continue // not from the kernel
		}
		select {
		case batches <- msgs:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// evaluate gathers events for a moment before it acts on them. It returns after receive has ended.
func (r *Resolver) evaluate(ctx context.Context, batches <-chan []syscall.NetlinkMessage, ended <-chan error) error {
	retry := time.NewTicker(r.provokeEvery)
	defer retry.Stop()
	all := time.NewTicker(relookup)
	defer all.Stop()
	var pending suspects
	var due <-chan time.Time
	for {
		select {
		case err := <-ended:
			return err
		case msgs := <-batches:
			r.take(msgs, &pending)
			if due == nil && pending.any() {
				due = time.After(gather)
			}
		case <-due:
			r.settle(pending)
			pending, due = suspects{}, nil
		case <-all.C:
			r.settle(suspects{all: true})
		case <-retry.C:
			r.settle(suspects{}) // neighbours, and lookups that failed
		}
	}
}

// settle looks suspect routes up again and signals if a result is different now. Neighbours are then left
// to the Resolve that follows, which waits for new ones.
func (r *Resolver) settle(s suspects) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.markStale(s)
	r.lookup(r.routes)
	if !r.signalIfChanged() {
		r.provokeDue(time.Now())
	}
}

func (r *Resolver) startFollowing() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.resync(); err != nil {
		return err
	}
	r.following = true
	r.lookup(r.routes)
	r.signalIfChanged()
	return nil
}

func (r *Resolver) stopFollowing() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.following = false
}

// resync reads links and neighbours anew and makes every route suspect.
func (r *Resolver) resync() error {
	r.stats.Resyncs++
	r.markStale(suspects{all: true})
	h, err := r.handle()
	if err != nil {
		return err
	}
	links, err := h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		r.lost()
		return fmt.Errorf("list links: %w", err)
	}
	clear(r.links)
	for _, l := range links {
		r.links[l.Attrs().Index] = linkOf(l)
	}
	return r.readNeighbours()
}

// readNeighbours replaces what is known of neighbours.
func (r *Resolver) readNeighbours() error {
	h, err := r.handle()
	if err != nil {
		return err
	}
	ns, err := h.NeighListExecute(netlink.Ndmsg{})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		r.lost()
		return fmt.Errorf("list neighbours: %w", err)
	}
	clear(r.neighbours)
	for i := range ns {
		r.setNeighbour(&ns[i], false)
	}
	return nil
}
