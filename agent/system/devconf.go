package system

import (
	"encoding/binary"
	"fmt"
	"net"
	"strconv"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// linux/if_link.h, linux/ip.h
const (
	inetConf        = 1  // IFLA_INET_CONF
	confAcceptLocal = 23 // IPV4_DEVCONF_ACCEPT_LOCAL
)

// setAcceptLocal sets net.ipv4.conf.DEVICE.accept_local by rtnetlink, which takes CAP_NET_ADMIN
// and no file: in a container /proc/sys is read-only.
func setAcceptLocal(device, value string) error {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return fmt.Errorf("accept_local of %s: %w", device, err)
	}
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return fmt.Errorf("accept_local of %s: %w", device, err)
	}
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(dev.Index)
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	conf := spec.AddRtAttr(unix.AF_INET, nil).AddRtAttr(inetConf|unix.NLA_F_NESTED, nil)
	conf.AddRtAttr(confAcceptLocal, binary.NativeEndian.AppendUint32(nil, uint32(n)))
	request := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	request.AddData(msg)
	request.AddData(spec)
	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("accept_local of %s by netlink: %w", device, err)
	}
	return nil
}
