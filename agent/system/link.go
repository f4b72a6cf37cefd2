package system

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Link is what an interface's cable carries.
type Link struct {
	Carrier bool
	Speed   uint64 // bits per second; 0: not known
}

// Link asks for an interface's carrier and speed. The latter comes by ethtool's netlink (kernel 5.6),
// as sysfs shows another network namespace's devices to who was not started with its own.
func (Kernel) Link(name string) (Link, error) {
	dev, err := netlink.LinkByName(name)
	if err != nil {
		return Link{}, fmt.Errorf("look up interface %s: %w", name, err)
	}
	link := Link{Carrier: dev.Attrs().RawFlags&unix.IFF_LOWER_UP != 0}
	link.Speed, err = speed(name)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT): // the device, or the kernel, has none
		return link, nil
	case err != nil:
		return link, fmt.Errorf("ask for the speed of interface %s: %w", name, err)
	}
	return link, nil
}

func speed(name string) (uint64, error) {
	family, err := netlink.GenlFamilyGet(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return 0, err
	}
	req := nl.NewNetlinkRequest(int(family.ID), 0)
	req.AddData(&nl.Genlmsg{Command: unix.ETHTOOL_MSG_LINKMODES_GET, Version: unix.ETHTOOL_GENL_VERSION})
	header := nl.NewRtAttr(unix.ETHTOOL_A_LINKMODES_HEADER|unix.NLA_F_NESTED, nil)
	header.AddRtAttr(unix.ETHTOOL_A_HEADER_DEV_NAME, nl.ZeroTerminated(name))
	header.AddRtAttr(unix.ETHTOOL_A_HEADER_FLAGS, nl.Uint32Attr(unix.ETHTOOL_FLAG_COMPACT_BITSETS))
	req.AddData(header)
	replies, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return 0, err
	}
	for _, m := range replies {
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
		if err != nil {
			return 0, err
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.ETHTOOL_A_LINKMODES_SPEED {
				return bits(nl.NativeEndian().Uint32(a.Value)), nil
			}
		}
	}
	return 0, nil
}

// bits converts megabits, of which SPEED_UNKNOWN is all ones.
func bits(megabits uint32) uint64 {
	if megabits == ^uint32(0) {
		return 0
	}
	return uint64(megabits) * 1_000_000
}
