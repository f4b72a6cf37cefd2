package hostile

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/packet"
)

// writePcap writes Ethernet frames in pcap's format (draft-ietf-opsawg-pcap), with a
// microsecond from one to the next.
func writePcap(file string, frames ...[]byte) error {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = binary.LittleEndian.AppendUint32(b, 2|4<<16) // version 2.4
	for _, word := range []uint32{0, 0, 1 << 16, 1} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	for i, frame := range frames {
		for _, word := range []uint32{0, uint32(i), uint32(len(frame)), uint32(len(frame))} {
			b = binary.LittleEndian.AppendUint32(b, word)
		}
		b = append(b, frame...)
	}
	return os.WriteFile(file, b, 0o600)
}

// dissected are all of a packet's fields by tshark's names, the outer before the inner.
type dissected map[string][]string

func (d dissected) collect(v any) {
	fields, ok := v.(map[string]any)
	if !ok {
		return
	}
	for name, value := range fields {
		switch value := value.(type) {
		case string:
			d[name] = append(d[name], value)
		case []any: // a layer that is there twice
			for _, one := range value {
				if s, ok := one.(string); ok {
					d[name] = append(d[name], s)
				} else {
					d.collect(one)
				}
			}
		default:
			d.collect(value)
		}
	}
}

// dissect has stock tshark take the frames apart.
func dissect(t *testing.T, frames ...[]byte) (list []dissected) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "frames.pcap")
	if err := writePcap(file, frames...); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tshark", "-r", file, "-T", "json", "--no-duplicate-keys", "-d", fmt.Sprintf("udp.port==%d,geneve", tunnelPort),
		"-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
		// A frame is here once as it went and once as it came back. And RFC 6935 is not yet its default.
		"-o", "tcp.analyze_sequence_numbers:FALSE", "-o", "udp.ignore_ipv6_zero_checksum:TRUE")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	var packets []struct {
		Source struct {
			Layers map[string]any `json:"layers"`
		} `json:"_source"`
	}
	if err := json.Unmarshal(out, &packets); err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	for _, p := range packets {
		d := dissected{}
		d.collect(p.Source.Layers)
		list = append(list, d)
	}
	return list
}

// Stock tshark reads what the program sends, and what an ingress node sends back.
func TestTsharkReadsTunnels(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Fatalf("%v: hack/setup.sh test installs it", err)
	}
	overhead := map[string]int{"ipv4 false": 48, "ipv6 false": 60, "ipv4 true": 68, "ipv6 true": 80}
	for name, f := range families {
		for _, outer6 := range []bool{false, true} {
			r := newRig(t)
			r.must(r.tables.Sync(t.Context(), r.wantDirect(direct("web", maps.TCP, f.vip, 2, outer6))))
			request := packet.TCP(f.client, f.vip, packet.ACK|packet.PSH, packet.Payload(33))
			request.TOS = 0x2a // with a congestion mark to be
			out := r.is("encap", request.Frame())
			o, err := packet.OpenTunnel(out)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(out) - 14 - len(request.IP()); got != overhead[fmt.Sprint(name, " ", outer6)] {
				t.Errorf("%s, outer IPv6 %t: %d bytes of overhead", name, outer6, got)
			}
			for i, d := range dissect(t, out, back(o).Frame()) {
				checkDissected(t, f, outer6, i == 1, o, d)
			}
		}
	}
}

func checkDissected(t *testing.T, f family, outer6, bounced bool, o packet.Opened, d dissected) {
	t.Helper()
	data := o.Geneve
	data.Inner = nil
	if bounced {
		data.Flags = packet.Bounce
	}
	option := strings.ReplaceAll(fmt.Sprintf("% x", data.Bytes()[12:]), " ", ":")
	outer, inner, addrs := "ip", "ip", "ipv4"
	proto := "0x0800"
	if outer6 {
		outer = "ipv6"
	}
	if f.vip.Addr().Is6() {
		inner, addrs, proto = "ipv6", "ipv6", "0x86dd"
	}
	for field, want := range map[string]string{
		"geneve.version": "0", "geneve.flags.oam": "0", "geneve.flags.critical": "1", "geneve.vni": "0x000000", "geneve.proto_type": proto,
		"geneve.option.class": "0xff50", "geneve.option.type": "0x81", "geneve.option.type.critical": "1",
		"geneve.option.length": fmt.Sprint(len(data.Bytes()) - 8), "geneve.option.unknown.data": option,
		"udp.dstport": fmt.Sprint(tunnelPort), "tcp.srcport": fmt.Sprint(f.client.Port()), "tcp.dstport": fmt.Sprint(f.vip.Port()),
		"tcp.checksum.status": "1", "tcp.len": "33",
	} {
		if got := strings.Join(slices.Compact(d[field]), " "); got != want {
			t.Errorf("%s over IPv6 %t, bounced %t: %s is %q, want %q", addrs, outer6, bounced, field, got, want)
		}
	}
	if src := d[inner+".src"]; len(src) == 0 || src[len(src)-1] != f.client.Addr().String() {
		t.Errorf("%s over IPv6 %t: inner source %v", addrs, outer6, src)
	}
	if dst := d[outer+".dst"]; len(dst) == 0 || !bounced && dst[0] != o.Dst.Addr().String() {
		t.Errorf("%s over IPv6 %t: outer destination %v", addrs, outer6, dst)
	}
	for _, status := range d["ip.checksum.status"] {
		if status != "1" {
			t.Errorf("%s over IPv6 %t: an IPv4 header's checksum is %s", addrs, outer6, d["ip.checksum.status"])
		}
	}
	for field := range d {
		if strings.Contains(field, "malformed") || strings.Contains(field, "expert") {
			t.Errorf("%s over IPv6 %t, bounced %t: tshark complains: %s %v", addrs, outer6, bounced, field, d[field])
		}
	}
}
