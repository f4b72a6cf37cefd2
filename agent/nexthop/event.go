package nexthop

import (
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// take applies messages to the tables and notes which routes they put in doubt.
func (r *Resolver) take(msgs []syscall.NetlinkMessage, s *suspects) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range msgs {
		r.stats.Events++
		if err := r.takeOne(m, s); err != nil {
			r.log.Warn("netlink message that makes no sense, looking all routes up", "type", m.Header.Type, "err", err)
			s.all = true
		}
	}
}

func (r *Resolver) takeOne(m syscall.NetlinkMessage, s *suspects) error {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return r.takeLink(m, s)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		n, err := netlink.NeighDeserialize(m.Data)
		if err != nil {
			return err
		}
		if r.setNeighbour(n, m.Header.Type == unix.RTM_DELNEIGH) {
			s.joined = true
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		p, err := routePrefix(m.Data)
		if err != nil {
			return err
		}
		s.addPrefix(p)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		s.all = s.all || !linkLocal(m.Data)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE, unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		s.all = true
	}
	return nil
}

func (r *Resolver) takeLink(m syscall.NetlinkMessage, s *suspects) error {
	if len(m.Data) > 0 && m.Data[0] == unix.AF_BRIDGE {
		return nil // a bridge says something of its port, whose own state is not in it
	}
	l, err := netlink.LinkDeserialize((*unix.NlMsghdr)(&m.Header), m.Data)
	if err != nil {
		return err
	}
	if m.Header.Type == unix.RTM_DELLINK {
		r.deleteLink(l.Attrs().Index, s)
	} else {
		r.setLink(linkOf(l), s)
	}
	return nil
}

// linkLocal tells an IPv6 link-local address, which every new device gets and no route to a pod has as its
// source, in a struct ifaddrmsg.
func linkLocal(data []byte) bool {
	return len(data) >= unix.SizeofIfAddrmsg && data[0] == unix.AF_INET6 && data[3] == unix.RT_SCOPE_LINK
}

// routePrefix returns the destination of a route message: struct rtmsg and RTA_DST, which a default route
// has not.
func routePrefix(data []byte) (netip.Prefix, error) {
	if len(data) < unix.SizeofRtMsg {
		return netip.Prefix{}, fmt.Errorf("route message of %d bytes", len(data))
	}
	msg := nl.DeserializeRtMsg(data)
	dst := netip.IPv4Unspecified()
	if msg.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	attrs, err := nl.ParseRouteAttr(data[unix.SizeofRtMsg:])
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, attr := range attrs {
		if attr.Attr.Type != unix.RTA_DST {
			continue
		}
		addr, ok := netip.AddrFromSlice(attr.Value)
		if !ok {
			return netip.Prefix{}, fmt.Errorf("route to an address of %d bytes", len(attr.Value))
		}
		dst = addr
	}
	return dst.Prefix(int(msg.Dst_len))
}
