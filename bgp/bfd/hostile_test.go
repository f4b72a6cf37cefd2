package bfd_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bgp/bfd"
	"github.com/penstock-lb/penstock/test/fixture"
)

// forged is a datagram that a stranger sends.
type forged struct {
	from, to string
	port     int
	ttl      int
	device   string
	data     []byte
}

// send sends datagrams from inside the namespace.
func send(t *testing.T, n *fixture.Netns, datagrams ...forged) {
	t.Helper()
	for _, f := range datagrams {
		if err := n.Do(f.send); err != nil {
			t.Fatalf("send %+v: %v", f, err)
		}
	}
}

func (f forged) send() error {
	family, level, ttl := unix.AF_INET, unix.IPPROTO_IP, unix.IP_TTL
	if netip.MustParseAddr(f.to).Is6() {
		family, level, ttl = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if f.device != "" {
		if err := unix.BindToDevice(fd, f.device); err != nil {
			return err
		}
	}
	return errors.Join(
		unix.SetsockoptInt(fd, level, ttl, f.ttl),
		unix.Bind(fd, sockaddr(f.from, 0)),
		unix.Sendto(fd, f.data, 0, sockaddr(f.to, f.port)),
	)
}

func sockaddr(addr string, port int) unix.Sockaddr {
	a := netip.MustParseAddr(addr)
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
}

// fromMulticast is a datagram with a multicast source, which only a raw socket sends. UDP over IPv4
// needs no checksum, and the kernel fills in that of the header.
func fromMulticast(t *testing.T, n *fixture.Netns, f forged) {
	t.Helper()
	packet := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, byte(f.ttl), unix.IPPROTO_UDP, 0, 0}
	from, to := netip.MustParseAddr("224.0.0.5").As4(), netip.MustParseAddr(f.to).As4()
	packet = append(append(packet, from[:]...), to[:]...)
	for _, field := range []int{50000, f.port, 8 + len(f.data), 0} {
		packet = binary.BigEndian.AppendUint16(packet, uint16(field))
	}
	packet = append(packet, f.data...)
	if err := n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, packet, 0, sockaddr(f.to, 0))
	}); err != nil {
		t.Fatal(err)
	}
}

// counts are all drops, those of the only session under its reason and the server's with "server " before.
func (p *process) counts() map[string]uint64 {
	p.t.Helper()
	all := map[string]uint64{}
	for reason, n := range p.state().Dropped {
		all[string(reason)] = n
	}
	for reason, n := range p.dropped() {
		all["server "+string(reason)] = n
	}
	return all
}

// waitCounted waits until something was dropped, and compares.
func (p *process) waitCounted(before map[string]uint64, want string) {
	p.t.Helper()
	before = maps.Clone(before)
	before[want]++
	fixture.Wait(p.t, 5*time.Second, "a drop", func() error {
		if diff := cmp.Diff(before, p.counts()); diff != "" {
			return fmt.Errorf("counters (-want +got):\n%s", diff)
		}
		return nil
	})
}

func TestHostilePackets(t *testing.T) {
	t.Parallel()
	for _, p := range []struct {
		path
		thirdTor, thirdLB string
	}{{paths[0], "10.1.1.9", "10.1.1.8"}, {paths[1], "fd00:1::9", "fd00:1::8"}} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			l, ours := pairUp(t, p.path)
			bits := map[string]string{"10": "/24", "fd": "/64"}[p.router[:2]]
			l.tor.AddAddr(t, "lb", p.thirdTor+bits)
			l.lb.AddAddr(t, "eth0", p.thirdLB+bits)
			up := ours.state()
			good := bfd.Packet{
				State: bfd.Up, Multiplier: 3, MyDiscriminator: up.RemoteDiscriminator, YourDiscriminator: up.Discriminator,
				DesiredMinTx: interval, RequiredMinRx: interval,
			}
			for _, c := range []struct {
				name string
				edit func(f *forged, packet *bfd.Packet)
				raw  func(b []byte) []byte
				want string
			}{
				{"forwarded", func(f *forged, _ *bfd.Packet) { f.ttl = 254 }, nil, "badTTL"},
				{"forwarded by a stranger", func(f *forged, _ *bfd.Packet) { f.ttl, f.from = 1, p.thirdTor }, nil, "server badTTL"},
				{"version 2", nil, func(b []byte) []byte { b[0] = 0x40; return b }, "badVersion"},
				{"cut", nil, func(b []byte) []byte { return b[:10] }, "badLength"},
				{"empty", nil, func(b []byte) []byte { return b[:0] }, "badLength"},
				{"length above the datagram", nil, func(b []byte) []byte { b[3] = 200; return b }, "badLength"},
				{"authenticated", nil, func(b []byte) []byte { b[1] |= 4; b[3] = 27; return append(b, 1, 3, 0) }, "authenticated"},
				{"multiplier 0", func(_ *forged, packet *bfd.Packet) { packet.Multiplier = 0 }, nil, "zeroMultiplier"},
				{"multipoint", nil, func(b []byte) []byte { b[1] |= 1; return b }, "multipoint"},
				{"my discriminator 0", func(_ *forged, packet *bfd.Packet) { packet.MyDiscriminator = 0 }, nil, "zeroMyDiscriminator"},
				{"your discriminator 0", func(_ *forged, packet *bfd.Packet) { packet.YourDiscriminator = 0 }, nil, "zeroYourDiscriminator"},
				{"unknown discriminator", func(_ *forged, packet *bfd.Packet) { packet.YourDiscriminator++ }, nil, "unknownDiscriminator"},
				{"unknown discriminator, stranger", func(f *forged, packet *bfd.Packet) { f.from = p.thirdTor; packet.YourDiscriminator++ }, nil, "server unknownDiscriminator"},
				{"down from a stranger", func(f *forged, packet *bfd.Packet) {
					f.from = p.thirdTor
					packet.State, packet.YourDiscriminator = bfd.Down, 0
				}, nil, "server unknownPeer"},
				{"down from a stranger who knows", func(f *forged, packet *bfd.Packet) { f.from, packet.State = p.thirdTor, bfd.Down }, nil, "wrongPeer"},
				{"to another address", func(f *forged, packet *bfd.Packet) { f.to, packet.State = p.thirdLB, bfd.Down }, nil, "wrongPeer"},
			} {
				f, packet := forged{from: p.router, to: p.local, port: 3784, ttl: 255}, good
				if c.edit != nil {
					c.edit(&f, &packet)
				}
				f.data = packet.Append(nil)
				if c.raw != nil {
					f.data = c.raw(f.data)
				}
				before := ours.counts()
				send(t, l.tor, f)
				t.Log(c.name)
				ours.waitCounted(before, c.want)
			}
			if p.name == "IPv4" {
				// The kernel knows these; the drop that is counted is that of the packet after it.
				before := ours.counts()
				good.State = bfd.Down
				fromMulticast(t, l.tor, forged{to: p.local, port: 3784, ttl: 255, data: good.Append(nil)})
				send(t, l.tor, forged{from: p.router, to: p.local, port: 3784, ttl: 3, data: good.Append(nil)})
				ours.waitCounted(before, "badTTL")
			}
			if now := ours.state(); now.State != bfd.Up || !now.Since.Equal(up.Since) || len(now.Downs) != 0 {
				t.Errorf("the session suffered: %+v", now)
			}
		})
	}
}

// pairUp has a session of ours at both ends, which is up and does not mind a busy machine.
func pairUp(t *testing.T, p path) (*lab, *process) {
	t.Helper()
	l := newLab(t, p)
	ours, theirs := startProcess(t, l.lb), startProcess(t, l.tor)
	patient := func(s bfd.Session) bfd.Session {
		s.Multiplier = 50
		return s
	}
	ours.sync(patient(p.session(interval)))
	theirs.sync(patient(p.mirror().session(interval)))
	theirs.waitUp()
	ours.waitUp()
	return l, ours
}

// mirror is the path as the router sees it.
func (p path) mirror() path {
	p.router, p.local, p.device = p.local, p.router, "lb"
	return p
}

// Nonsense at full speed neither harms the session nor the process.
func TestFlood(t *testing.T) {
	t.Parallel()
	p := paths[0]
	l, ours := pairUp(t, p)
	up := ours.state()
	random := rand.New(rand.NewPCG(1, 2))
	flood := make([]forged, 2000)
	for i := range flood {
		b := make([]byte, random.IntN(60))
		for j := range b {
			b[j] = byte(random.Uint32())
		}
		if len(b) >= 24 && i%2 == 0 {
			// Nearly right, but for the discriminator.
			b[0], b[1], b[2], b[3] = 0x20, 0xc0, 3, 24
		}
		flood[i] = forged{from: p.router, to: p.local, port: 3784, ttl: 255, data: b}
	}
	send(t, l.tor, flood...)
	// What the kernel drops because the socket's buffer is full is not counted.
	fixture.Wait(t, 10*time.Second, "the flood to be counted", func() error {
		sum := uint64(0)
		for _, n := range ours.counts() {
			sum += n
		}
		if sum < uint64(len(flood))/2 {
			return fmt.Errorf("%d of %d datagrams were dropped: %v", sum, len(flood), ours.counts())
		}
		return nil
	})
	if now := ours.state(); now.State != bfd.Up || !now.Since.Equal(up.Since) {
		t.Errorf("the session suffered: %+v", now)
	}
}

// A session on an interface takes no packets from another one, even with the right addresses.
func TestWrongInterface(t *testing.T) {
	t.Parallel()
	p := paths[0]
	p.device = "eth0"
	l, ours := pairUp(t, p)
	fixture.Link(t, l.tor, "lb2", l.lb, "eth1", fixture.LinkOptions{AddrsA: []string{"10.1.1.1/32"}})
	l.tor.Run(t, "ip", "route", "add", "10.1.1.2/32", "dev", "lb2", "table", "main", "metric", "9")
	up := ours.state()
	b := bfd.Packet{State: bfd.Down, Multiplier: 3, MyDiscriminator: up.RemoteDiscriminator, YourDiscriminator: up.Discriminator}.Append(nil)
	before := ours.counts()
	send(t, l.tor, forged{from: "10.1.1.1", to: "10.1.1.2", port: 3784, ttl: 255, device: "lb2", data: b})
	ours.waitCounted(before, "wrongPeer")
	if now := ours.state(); now.State != bfd.Up {
		t.Errorf("the session suffered: %+v", now)
	}
}
