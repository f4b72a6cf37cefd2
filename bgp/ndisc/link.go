package ndisc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// initial is how many advertisements at the start are sent at short intervals
// (MAX_INITIAL_RTR_ADVERTISEMENTS).
const initial = 3

// link is an interface with a socket of its own.
type link struct {
	name      string
	index     int
	mac       net.HardwareAddr
	own       []netip.Addr // addresses of the interface, with its zone
	conn      *ndp.Conn
	times     times
	solicited chan struct{}
	done      chan struct{}
	closing   sync.Once

	started bool    // guarded by Discoverer.mu, as is the next
	routers routers // heard
}

func openLink(name string, times times) (*link, error) {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w; create it, or correct the name", name, err)
	}
	l := &link{name: name, index: dev.Index, mac: dev.HardwareAddr, times: times, solicited: make(chan struct{}, 1), done: make(chan struct{})}
	if l.own, err = addresses(dev); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(l.own, netip.Addr.IsLinkLocalUnicast) {
		return nil, fmt.Errorf("interface %s has no IPv6 link-local address: set it up, with net.ipv6.conf.%s.disable_ipv6=0", name, name)
	}
	conn, _, err := ndp.Listen(byNumber(dev), ndp.LinkLocal)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("interface %s: open a raw ICMPv6 socket: %w; give the agent the capability NET_RAW", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("interface %s: open a raw ICMPv6 socket: %w", name, err)
	}
	l.conn = conn
	if err := l.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("interface %s: set up the ICMPv6 socket: %w", name, err), conn.Close())
	}
	return l, nil
}

// byNumber has zones written as numbers: package net remembers for a minute which device had a name, and
// would send by the one of before.
func byNumber(dev *net.Interface) *net.Interface {
	numbered := *dev
	numbered.Name = strconv.Itoa(dev.Index)
	return &numbered
}

func addresses(dev *net.Interface) (out []netip.Addr, err error) {
	all, err := dev.Addrs()
	if err != nil {
		return nil, fmt.Errorf("interface %s: read its addresses: %w", dev.Name, err)
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() {
			out = append(out, p.Addr().WithZone(dev.Name))
		}
	}
	return out, nil
}

// prepare has the kernel hand over solicitations and advertisements alone, with what they are judged by.
func (l *link) prepare() error {
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	return errors.Join(
		l.conn.SetICMPFilter(&filter),
		l.conn.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true),
		l.conn.JoinGroup(allNodes),
		l.conn.JoinGroup(allRouters),
	)
}

// close may be called more than once, and ends advertise and receive.
func (l *link) close() {
	l.closing.Do(func() {
		close(l.done)
		_ = l.conn.Close() // nothing is buffered
	})
}

// receive reports the routers that advertise themselves until the link is closed.
func (l *link) receive(heard func(netip.Addr)) error {
	for {
		m, cm, from, err := l.conn.ReadFrom()
		if err != nil {
			return l.unlessClosed(fmt.Errorf("interface %s: receive: %w", l.name, err))
		}
		from = from.WithZone(l.name)
		if cm == nil || cm.HopLimit != ndp.HopLimit || cm.IfIndex != l.index || slices.Contains(l.own, from) {
			continue
		}
		switch m.(type) {
		case *ndp.RouterAdvertisement:
			if from.IsLinkLocalUnicast() {
				heard(from)
			}
		case *ndp.RouterSolicitation:
			select {
			case l.solicited <- struct{}{}:
			default:
			}
		}
	}
}

// advertise sends advertisements and solicitations until the link is closed, and calls works after the first.
func (l *link) advertise(works func()) error {
	due := time.NewTimer(0)
	defer due.Stop()
	for sent, last := 0, (time.Time{}); ; {
		select {
		case <-l.done:
			return nil
		case <-l.solicited: // answered within half a second (MAX_RA_DELAY_TIME)
			due.Reset(max(time.Until(last.Add(l.times.minDelay)), rand.N(time.Second/2))) //nolint:gosec // no secret
			select {
			case <-l.done:
				return nil
			case <-due.C:
			}
		case <-due.C:
		}
		if err := l.send(); err != nil {
			return l.unlessClosed(fmt.Errorf("interface %s: send a router advertisement: %w", l.name, err))
		}
		if sent == 0 {
			works()
		}
		sent, last = sent+1, time.Now()
		wait := l.times.interval*3/4 + rand.N(l.times.interval/4) //nolint:gosec // no secret
		if sent < initial {
			wait = min(wait, l.times.minDelay)
		}
		due.Reset(wait)
	}
}

func (l *link) send() error {
	var options []ndp.Option
	if len(l.mac) == 6 {
		options = append(options, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: l.mac})
	}
	return errors.Join(
		l.conn.WriteTo(&ndp.RouterAdvertisement{Options: options}, nil, allNodes),
		l.conn.WriteTo(&ndp.RouterSolicitation{Options: options}, nil, allRouters),
	)
}

func (l *link) unlessClosed(err error) error {
	select {
	case <-l.done:
		return nil
	default:
		return err
	}
}
