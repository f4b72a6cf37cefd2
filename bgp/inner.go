package bgp

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// innerAddr is where a relay waits for its GoBGP: the loopback of the session's family, since GoBGP
// writes what it sends by the family of its neighbor.
func innerAddr(f Family) netip.Addr {
	if f == IPv6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// ours reports whether the other end of a loopback connection is a socket of this process. Others on
// this host could speak to routers in our name otherwise.
func ours(conn *net.TCPConn) error {
	inode, err := socketInode(conn.RemoteAddr().(*net.TCPAddr).AddrPort(), conn.LocalAddr().(*net.TCPAddr).AddrPort())
	if err != nil {
		return err
	}
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return err
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == "socket:["+inode+"]" {
			return nil
		}
	}
	return fmt.Errorf("a connection from %s is not this process's", conn.RemoteAddr())
}

// socketInode finds a TCP socket by its two ends in proc(5)'s net/tcp, whose addresses are words of the
// host's order in hexadecimal.
func socketInode(local, remote netip.AddrPort) (string, error) {
	name := "/proc/thread-self/net/tcp"
	if local.Addr().Is6() {
		name += "6"
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	want := [2]string{procAddr(local), procAddr(remote)}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 9 && [2]string(fields[1:3]) == want {
			return fields[9], nil
		}
	}
	return "", fmt.Errorf("there is no socket from %s to %s", local, remote)
}

func procAddr(a netip.AddrPort) string {
	var b strings.Builder
	raw := a.Addr().AsSlice()
	for word := 0; word < len(raw); word += 4 {
		fmt.Fprintf(&b, "%08X", binary.NativeEndian.Uint32(raw[word:]))
	}
	port := strings.ToUpper(strconv.FormatUint(uint64(a.Port()), 16))
	return b.String() + ":" + strings.Repeat("0", 4-len(port)) + port
}
