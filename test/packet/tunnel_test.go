package packet

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var (
	lb4, lb6     = netip.MustParseAddrPort("10.0.0.1:50000"), netip.MustParseAddrPort("[2001:db8:1::1]:50000")
	node4, node6 = netip.MustParseAddrPort("10.2.0.1:6082"), netip.MustParseAddrPort("[2001:db8:3::1]:6082")
	pod4, pod6   = netip.MustParseAddrPort("10.1.0.1:8080"), netip.MustParseAddrPort("[2001:db8:2::1]:8080")
)

// tunnels are the four combinations of families.
func tunnels(hop uint8, flags TunnelFlags) map[string]Packet {
	request4, request6 := TCP(client4, vip4, SYN, Payload(9)).IP(), TCP(client6, vip6, SYN, Payload(9)).IP()
	return map[string]Packet{
		"4 in 4": Tunnel(lb4, node4, Geneve{pod4, hop, flags, request4}),
		"6 in 4": Tunnel(lb4, node4, Geneve{pod6, hop, flags, request6}),
		"4 in 6": Tunnel(lb6, node6, Geneve{pod4, hop, flags, request4}),
		"6 in 6": Tunnel(lb6, node6, Geneve{pod6, hop, flags, request6}),
	}
}

// The bytes that every node has to agree on, spelled out.
func TestTunnelOnTheWire(t *testing.T) {
	overhead := map[string]int{"4 in 4": 48, "6 in 4": 60, "4 in 6": 68, "6 in 6": 80}
	option := map[byte]string{
		'4': "\x03\x40\x08\x00\x00\x00\x00\x00" + "\xff\x50\x81\x02" + "\x0a\x01\x00\x01" + "\x1f\x90\x07\x02",
		'6': "\x06\x40\x86\xdd\x00\x00\x00\x00" + "\xff\x50\x81\x05" + "\x20\x01\x0d\xb8\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x1f\x90\x07\x02",
	}
	for name, p := range tunnels(7, Bounce) {
		p.TOS, p.Label = 0xb9, 0x12345
		frame := p.Frame()
		outer := 14 + 20
		if name[5] == '6' {
			outer = 14 + 40
		}
		if want := option[name[0]]; string(frame[outer+8:][:len(want)]) != want {
			t.Errorf("%s: Geneve is % x, want % x", name, frame[outer+8:][:len(want)], want)
		}
		if udp := frame[outer : outer+8]; string(udp[:4]) != "\xc3\x50\x17\xc2" || udp[6] != 0 || udp[7] != 0 {
			t.Errorf("%s: UDP header % x", name, udp)
		}
		o, err := OpenTunnel(append(frame, 0, 0, 0)) // padding
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(p.IP())-len(o.Inner) != overhead[name] || TunnelOverhead(p.Src, o.Pod.Addr()) != overhead[name] {
			t.Errorf("%s: %d bytes of overhead, want %d", name, len(p.IP())-len(o.Inner), overhead[name])
		}
		back := Tunnel(o.Src, o.Dst, o.Geneve)
		back.TTL, back.TOS, back.Label = o.TTL, o.TOS, o.Label
		if diff := Diff(frame, back.Frame()); diff != "" {
			t.Errorf("%s: taken apart and put together: %s", name, diff)
		}
	}
}

// Another's decoder reads the same.
func TestTunnelAsGopacketSeesIt(t *testing.T) {
	for name, p := range tunnels(HopLearned, Accept) {
		udp := gopacket.NewPacket(p.Frame(), layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeUDP).(*layers.UDP)
		inside := gopacket.NewPacket(udp.Payload, layers.LayerTypeGeneve, gopacket.Default)
		g, ok := inside.Layer(layers.LayerTypeGeneve).(*layers.Geneve)
		if !ok || len(g.Options) != 1 || g.Options[0].Class != 0xff50 || g.Options[0].Type != 0x81 || !g.CriticalOption || g.OAMPacket || g.VNI != 0 {
			t.Fatalf("%s: %+v", name, g)
		}
		tcp, ok := inside.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !ok || tcp.DstPort != 8080 || !tcp.SYN || !bytes.Equal(tcp.Payload, Payload(9)) {
			t.Errorf("%s: inside is %s", name, inside)
		}
	}
}

func TestProbesHaveAChecksum(t *testing.T) {
	for name, p := range tunnels(0, Probe) {
		p.Payload = p.Payload[:len(p.Payload)-len(TCP(client4, vip4, SYN, Payload(9)).IP())]
		if o, err := OpenTunnel(p.Frame()); name[0] == '4' && (err != nil || len(o.Inner) != 0 || o.Checksum == 0) {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
		if err := Verify(p.Frame()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each field that is wrong is named.
func TestOpenTunnelNamesTheField(t *testing.T) {
	const udp, geneve = 14 + 20, 14 + 20 + 8
	for name, tt := range map[string]struct {
		at   int
		with byte
	}{
		"ethertype":           {13, 6},
		"options":             {14, 0x46},
		"checksum":            {14 + 8, 63},
		"holds no UDP":        {14 + 9, 6},
		"UDP datagram":        {udp + 5, 9},
		"version and options": {geneve, 0x44},
		"flags":               {geneve + 1, 0xc0},
		"inner protocol":      {geneve + 3, 6},
		"VNI":                 {geneve + 6, 1},
		"reserved":            {geneve + 7, 1},
		"option class":        {geneve + 9, 0x51},
		"option type":         {geneve + 10, 1},
		"option length":       {geneve + 11, 3},
	} {
		frame := tunnels(0, 0)["4 in 4"].Frame()
		if _, err := OpenTunnel(frame); err != nil {
			t.Fatal(err)
		}
		frame[tt.at] = tt.with
		if _, err := OpenTunnel(frame); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("byte %d of %#x: %v, which does not say %q", tt.at, tt.with, err, name)
		}
	}
	frame := tunnels(0, 0)["6 in 6"].Frame()
	short := slices.Clone(frame)
	short[14+4], short[14+5] = 0, 7
	if _, err := OpenTunnel(short); err == nil || !strings.Contains(err.Error(), "7 bytes are no UDP datagram") {
		t.Errorf("an IP packet of 7 bytes: %v", err)
	}
	for n := range frame {
		if _, err := OpenTunnel(frame[:n]); err == nil {
			t.Errorf("%d bytes of %d are as good as all", n, len(frame))
		}
	}
}
