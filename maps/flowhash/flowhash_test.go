package flowhash

import (
	"bufio"
	"encoding/hex"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
)

var seed = [16]byte{0: 0x17, 3: 0x9c, 7: 0x55, 8: 0xa1, 12: 0x42, 15: 0xe0}

// The vectors come from a second implementation, written from doc.go. The C data
// path is held to the same file.
func TestGolden(t *testing.T) {
	f, err := os.Open("testdata/golden.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	vectors := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		c := strings.Split(s.Text(), "\t")
		var key [16]byte
		if _, err := hex.Decode(key[:], []byte(c[0])); err != nil {
			t.Fatal(err)
		}
		client, vip := netip.MustParseAddrPort(c[1]), netip.MustParseAddrPort(c[2])
		proto, err := strconv.ParseUint(c[3], 10, 8)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := FlowHash(key, client, vip, uint8(proto)), parseHash(t, c[4]); got != want {
			t.Errorf("flow hash of %s: %08x, want %08x", s.Text(), got, want)
		}
		if got, want := AffinityHash(key, client.Addr(), vip.Addr()), parseHash(t, c[5]); got != want {
			t.Errorf("affinity hash of %s: %08x, want %08x", s.Text(), got, want)
		}
		vectors++
	}
	if vectors != 44 {
		t.Errorf("%d vectors, want 44", vectors)
	}
}

func parseHash(t *testing.T, s string) uint32 {
	t.Helper()
	v, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(v)
}

func TestMappedAddressesCountAsIPv4(t *testing.T) {
	client, vip := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.10:80")
	mapped := func(a netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	}
	want := FlowHash(seed, client, vip, 6)
	if got := FlowHash(seed, mapped(client), mapped(vip), 6); got != want {
		t.Errorf("mapped addresses hash to %08x, plain ones to %08x", got, want)
	}
}

func TestAffinityIgnoresNothingButPorts(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	vip, other := netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("198.51.100.11")
	if AffinityHash(seed, a, vip) == AffinityHash(seed, b, vip) {
		t.Error("the client's address does not count")
	}
	if AffinityHash(seed, a, vip) == AffinityHash(seed, a, other) {
		t.Error("the VIP does not count")
	}
}

// Flipping any one bit of the flow or the seed flips each bit of the hash in
// half of the cases.
func TestAvalanche(t *testing.T) {
	const samples = 1 << 14
	for _, v4 := range []bool{true, false} {
		r := rand.New(rand.NewPCG(1, 2))
		var flips [16 + 16 + 16 + 5][8][32]int
		for range samples {
			base := randomInput(r)
			h := base.hash(v4)
			for i := range flips {
				for bit := range 8 {
					in := base
					in[i] ^= 1 << bit
					for d := in.hash(v4) ^ h; d != 0; d &= d - 1 {
						flips[i][bit][bits.TrailingZeros32(d)]++
					}
				}
			}
		}
		for i := range flips {
			if v4 && !usedByIPv4(i) {
				continue
			}
			for bit := range 8 {
				for out, n := range flips[i][bit] {
					// Six standard deviations; there are some 13,000 cells.
					if p := float64(n) / samples; math.Abs(p-0.5) > 6*0.5/math.Sqrt(samples) {
						t.Errorf("ipv4 %t: input byte %d bit %d flips output bit %d with probability %.3f", v4, i, bit, out, p)
					}
				}
			}
		}
	}
}

// input is seed, client, vip, client port, vip port and protocol as bytes.
type input [53]byte

func randomInput(r *rand.Rand) (in input) {
	for i := range in {
		in[i] = byte(r.Uint32())
	}
	return in
}

func usedByIPv4(i int) bool { return i < 20 || i >= 32 && i < 36 || i >= 48 }

func (in input) hash(v4 bool) uint32 {
	client, vip := netip.AddrFrom16([16]byte(in[16:32])), netip.AddrFrom16([16]byte(in[32:48]))
	if v4 {
		client, vip = netip.AddrFrom4([4]byte(in[16:20])), netip.AddrFrom4([4]byte(in[32:36]))
	}
	port := func(at int) uint16 { return uint16(in[at])<<8 | uint16(in[at+1]) }
	return FlowHash([16]byte(in[:16]), netip.AddrPortFrom(client, port(48)), netip.AddrPortFrom(vip, port(50)), in[52])
}

// Flows as they come, with addresses and ports that count up, fill the rows as
// evenly as random numbers would.
func TestUniformOverRows(t *testing.T) {
	const rows, flows = 1 << 12, 1 << 18
	vip4, vip6 := netip.MustParseAddrPort("198.51.100.10:443"), netip.MustParseAddrPort("[2001:db8::10]:443")
	v4 := func(host uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(host >> 16), byte(host >> 8), byte(host)})
	}
	v6 := func(subnet, host uint32) netip.Addr {
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 5: byte(subnet >> 16), 6: byte(subnet >> 8), 7: byte(subnet),
			13: byte(host >> 16), 14: byte(host >> 8), 15: byte(host)})
	}
	tests := []struct {
		name string
		hash func(i uint32) uint32
	}{
		{"ipv4 sequential addresses", func(i uint32) uint32 {
			return FlowHash(seed, netip.AddrPortFrom(v4(i), 40000), vip4, 6)
		}},
		{"ipv4 sequential ports of four clients", func(i uint32) uint32 {
			return FlowHash(seed, netip.AddrPortFrom(v4(i>>16), uint16(i)), vip4, 6)
		}},
		{"ipv4 even ports of eight clients", func(i uint32) uint32 {
			return FlowHash(seed, netip.AddrPortFrom(v4(i>>15), uint16(i<<1)), vip4, 17)
		}},
		{"ipv4 sequential vips and vip ports", func(i uint32) uint32 {
			return FlowHash(seed, netip.MustParseAddrPort("192.0.2.1:40000"), netip.AddrPortFrom(v4(i>>8), uint16(i&255)), 6)
		}},
		{"ipv6 sequential addresses", func(i uint32) uint32 {
			return FlowHash(seed, netip.AddrPortFrom(v6(1, i), 40000), vip6, 6)
		}},
		{"ipv6 one address in each subnet", func(i uint32) uint32 {
			return FlowHash(seed, netip.AddrPortFrom(v6(i, 1), 40000), vip6, 6)
		}},
		{"ipv4 affinity", func(i uint32) uint32 { return AffinityHash(seed, v4(i), vip4.Addr()) }},
		{"ipv6 affinity", func(i uint32) uint32 { return AffinityHash(seed, v6(i, 1), vip6.Addr()) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var low, high [rows]int
			for i := range uint32(flows) {
				h := tt.hash(i)
				low[h%rows]++
				high[h/(1<<32/rows)]++
			}
			checkChiSquare(t, "low bits", low[:], flows)
			checkChiSquare(t, "high bits", high[:], flows)
		})
	}
}

// checkChiSquare accepts five standard deviations either way: too even is as
// suspicious as too uneven.
func checkChiSquare(t *testing.T, what string, counts []int, total int) {
	t.Helper()
	expect := float64(total) / float64(len(counts))
	var chi float64
	for _, n := range counts {
		chi += (float64(n) - expect) * (float64(n) - expect) / expect
	}
	freedom := float64(len(counts) - 1)
	if z := (chi - freedom) / math.Sqrt(2*freedom); math.Abs(z) > 5 {
		t.Errorf("%s: chi-square %.0f with %.0f degrees of freedom, %.1f standard deviations off", what, chi, freedom, z)
	}
}

func BenchmarkFlowHash(b *testing.B) {
	for _, s := range []struct{ name, client, vip string }{
		{"ipv4", "192.0.2.1:40000", "198.51.100.10:443"},
		{"ipv6", "[2001:db8::1]:40000", "[2001:db8::10]:443"},
	} {
		client, vip := netip.MustParseAddrPort(s.client), netip.MustParseAddrPort(s.vip)
		b.Run(s.name, func(b *testing.B) {
			for b.Loop() {
				FlowHash(seed, client, vip, 6)
			}
		})
	}
}
