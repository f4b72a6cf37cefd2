package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func hexBytes(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const marker = "ffffffffffffffffffffffffffffffff "

func TestReadRefuses(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     Notification
	}{
		{"no marker", "ffffffffffffffffffffffffffffff00 0013 04", Notification{1, 1, nil}},
		{"unknown type", marker + "0013 06", Notification{1, 3, []byte{6}}},
		{"type 0", marker + "0013 00", Notification{1, 3, []byte{0}}},
		{"shorter than its header", marker + "0012 04", Notification{1, 2, []byte{0, 0x12}}},
		{"keepalive with a body", marker + "0014 04 00", Notification{1, 2, []byte{0, 0x14}}},
		{"longer than 4096", marker + "1001 02", Notification{1, 2, []byte{0x10, 1}}},
		{"open too short", marker + "001c 01", Notification{1, 2, []byte{0, 0x1c}}},
		{"update too short", marker + "0016 02", Notification{1, 2, []byte{0, 0x16}}},
		{"notification too short", marker + "0014 03", Notification{1, 2, []byte{0, 0x14}}},
		{"refresh too long", marker + "0018 05", Notification{1, 2, []byte{0, 0x18}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(hexBytes(t, c.in)))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v, want an *Error", err)
			}
			if diff := cmp.Diff(c.want, e.Notification); diff != "" {
				t.Errorf("notification (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := Read(bytes.NewReader(hexBytes(t, marker+"0017 02 00"))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut message gives %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestMessageRoundTrip(t *testing.T) {
	for _, m := range []Message{Keepalive, EndOfRIB(false), EndOfRIB(true), Cease(CeaseShutdown, "bye").Message()} {
		got, err := Read(bytes.NewReader(m.Bytes()))
		if err != nil || got.Type != m.Type || !bytes.Equal(got.Body, m.Body) {
			t.Errorf("%v is read as %v, %v", m, got, err)
		}
	}
}

// openHex is version 4, AS, hold time 90 s, identifier 192.0.2.1 and the given optional parameters.
func openHex(as, options string) string { return "04" + as + "005a c0000201" + options }

func TestParseOpen(t *testing.T) {
	id := netip.MustParseAddr("192.0.2.1")
	mp4, mp6 := Capability{CapMultiprotocol, []byte{0, 1, 0, 1}}, Capability{CapMultiprotocol, []byte{0, 2, 0, 1}}
	for _, c := range []struct {
		name, in string
		want     Open
	}{
		{"without options", openHex("fc00", "00"), Open{AS: 64512, HoldTime: 90, ID: id}},
		{"four octets", openHex("5ba0", "08 02 06 41 04 fffffff0"),
			Open{AS: 0xfffffff0, HoldTime: 90, ID: id, Capabilities: []Capability{{CapFourOctetAS, []byte{0xff, 0xff, 0xff, 0xf0}}}}},
		{"one parameter for each", openHex("fc00", "10 02 06 01 04 0001 00 01 02 06 01 04 0002 00 01"),
			Open{AS: 64512, HoldTime: 90, ID: id, Capabilities: []Capability{mp4, mp6}}},
		{"the same twice, others, and unknown ones", openHex("fc00", "18 02 16 01 04 0001 00 01 01 04 0001 00 01 01 04 0019 00 46 49 02 aabb"),
			Open{AS: 64512, HoldTime: 90, ID: id, Capabilities: []Capability{mp4}}},
		{"RFC 9072", openHex("fc00", "ff ff 0009 02 0006 01 04 0002 00 01"),
			Open{AS: 64512, HoldTime: 90, ID: id, Capabilities: []Capability{mp6}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseOpen(hexBytes(t, c.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("open (-want +got):\n%s", diff)
			}
			again, err := ParseOpen(got.Message().Body)
			if err != nil || again.AS != got.AS || len(again.Capabilities) != len(got.Capabilities) {
				t.Errorf("written and read it is %+v, %v", again, err)
			}
		})
	}
}

func TestParseOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name, in      string
		code, subcode uint8
		text          string
	}{
		{"version", "03 fc00 005a c0000201 00", 2, 1, "version 3"},
		{"hold time 0", "04 fc00 0000 c0000201 00", 2, 6, "hold time of 0 s"},
		{"hold time 2", "04 fc00 0002 c0000201 00", 2, 6, "hold time of 2 s"},
		{"identifier", "04 fc00 005a 00000000 00", 2, 3, "0.0.0.0"},
		{"AS 0", openHex("0000", "00"), 2, 2, "AS 0"},
		{"authentication", openHex("fc00", "02 01 00"), 2, 4, "parameter 1"},
		{"options longer than said", openHex("fc00", "00 02 00"), 2, 0, "another length"},
		{"options shorter than said", openHex("fc00", "04 02 00"), 2, 0, "another length"},
		{"parameter beyond the end", openHex("fc00", "02 02 01"), 2, 0, "beyond its end"},
		{"capability beyond the end", openHex("fc00", "04 02 02 01 04"), 2, 0, "capability goes beyond"},
		{"capability without length", openHex("fc00", "03 02 01 01"), 2, 0, "capability goes beyond"},
		{"graceful restart of 3 bytes", openHex("fc00", "07 02 05 40 03 000000"), 2, 0, "capability 64 with 3 bytes"},
		{"four octets of 2", openHex("fc00", "06 02 04 41 02 0001"), 2, 0, "capability 65 with 2 bytes"},
		{"next hops of 5", openHex("fc00", "09 02 07 05 05 0000000000"), 2, 0, "capability 5 with 5 bytes"},
		{"RFC 9072 cut", openHex("fc00", "ff ff 0009 02"), 2, 0, "another length"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseOpen(hexBytes(t, c.in))
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code || e.Subcode != c.subcode || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v (%+v), want %d/%d and %q", err, e, c.code, c.subcode, c.text)
			}
		})
	}
}

func TestForwardingBits(t *testing.T) {
	o := Open{AS: 1, HoldTime: 3, ID: netip.MustParseAddr("192.0.2.1"), Capabilities: []Capability{
		{CapGracefulRestart, hexBytes(t, "0078 0001 01 00 0002 01 00")},
		{CapLongLived, hexBytes(t, "0001 01 00 000e10 0002 01 00 000e10")},
	}}
	got := o.Forwarding()
	for code, want := range map[uint8]string{CapGracefulRestart: "0078 0001 01 80 0002 01 80", CapLongLived: "0001 01 80 000e10 0002 01 80 000e10"} {
		if value, _ := got.Capability(code); !bytes.Equal(value, hexBytes(t, want)) {
			t.Errorf("capability %d is %x, want %s", code, value, want)
		}
	}
	if value, _ := o.Capability(CapGracefulRestart); value[5] != 0 {
		t.Error("the original was changed")
	}
	if _, has := got.Without(CapLongLived).Capability(CapLongLived); has {
		t.Error("Without left the capability in")
	}
}

func TestParseUpdate(t *testing.T) {
	p := netip.MustParsePrefix
	for _, c := range []struct {
		name, in string
		want     Update
		err      string
	}{
		{"End-of-RIB", "0000 0000", Update{EndOfRIB4: true}, ""},
		{"End-of-RIB of IPv6", "0000 0006 80 0f 03 0002 01", Update{EndOfRIB6: true}, ""},
		{"the same with a long length", "0000 0007 90 0f 0003 0002 01", Update{EndOfRIB6: true}, ""},
		{"an unreach beside another attribute", "0000 000a 40 01 01 00 80 0f 03 0002 01", Update{}, ""},
		{"IPv4", "0004 18 c00002 0004 40 01 01 00 20 cb007101 00",
			Update{Announced: []netip.Prefix{p("203.0.113.1/32"), p("0.0.0.0/0")}, Withdrawn: []netip.Prefix{p("192.0.2.0/24")}}, ""},
		{"IPv6 cut", "0000 001f 80 0e 1c 0002 01 10 fe800000000000000000000000000001 00 20 20010db8 09 ff",
			Update{}, "no possible length"},
		{"IPv6", "0000 001e 80 0e 1b 0002 01 10 fe800000000000000000000000000001 00 20 20010db8 00",
			Update{Announced: []netip.Prefix{p("2001:db8::/32"), p("::/0")}}, ""},
		{"IPv6 withdrawn", "0000 000b 80 0f 08 0002 01 20 20010db8", Update{Withdrawn: []netip.Prefix{p("2001:db8::/32")}}, ""},
		{"bits beyond the length", "0000 0000 09 c0ff", Update{Announced: []netip.Prefix{p("192.128.0.0/9")}}, ""},
		{"AS4_PATH before AS_PATH, a byte too long", "0000 000d c0 11 06 02 01 0000fde8 40 02 00 20 cb007101", Update{}, "no possible length"},
		{"AS4_PATH before AS_PATH", "0000 000c c0 11 06 02 01 0000fde8 40 02 00 20 cb007101",
			Update{Announced: []netip.Prefix{p("203.0.113.1/32")}}, ""},
		{"other families", "0000 000b 80 0e 08 0019 46 00 00 aabbcc", Update{}, ""},
		{"withdrawn beyond the end", "0009 18c00002 0000", Update{}, "parts do not fit"},
		{"attributes beyond the end", "0000 0009 40", Update{}, "parts do not fit"},
		{"attribute without a length", "0000 0002 40 01", Update{}, "parts do not fit"},
		{"attribute of half a length", "0000 0003 50 01 00", Update{}, "parts do not fit"},
		{"a network of 33 bits", "0000 0000 21 c000020100", Update{}, "no possible length"},
		{"a network beyond the end", "0000 0000 20 c00002", Update{}, "no possible length"},
		{"a next hop beyond the end", "0000 0008 80 0e 05 0002 01 10 fe", Update{}, "parts do not fit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseUpdate(hexBytes(t, c.in))
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			got.ASPath = nil // see TestThrough
			if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("update (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNotificationText(t *testing.T) {
	long := strings.Repeat("ä", 200)
	for _, c := range []struct {
		n    Notification
		want string
	}{
		{Cease(CeaseShutdown, "reboot at ten"), `cease: administrative shutdown: "reboot at ten"`},
		{Cease(CeaseReset, "a\nb\x1b[2J"), `cease: administrative reset: "a\nb\x1b[2J"`},
		{Cease(CeaseShutdown, long), `cease: administrative shutdown: "` + strings.Repeat("ä", 127) + `"`},
		{Cease(CeaseBFDDown, "no room for words"), "cease: BFD down"},
		{Notification{6, 2, []byte{9, 'a'}}, "cease: administrative shutdown"},
		{Notification{6, 2, []byte{1, 0xff}}, "cease: administrative shutdown"},
		{Notification{2, 2, []byte{0, 1}}, "OPEN error: wrong AS number"},
		{Notification{4, 0, nil}, "hold timer expired"},
		{Notification{9, 3, nil}, "error code 9: subcode 3"},
	} {
		if got := c.n.String(); got != c.want {
			t.Errorf("%+v is %q, want %q", c.n, got, c.want)
		}
		if got := ParseNotification(c.n.Message().Body); got.String() != c.want {
			t.Errorf("%+v sent and read is %q", c.n, got)
		}
	}
}

// FuzzRead reads whatever comes, and reads alike what it writes of it.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		marker + "001d 01 04 fc00 005a c0000201 00", marker + "0017 02 0000 0000", marker + "0013 04", marker + "0015 03 0602",
		marker + "0017 05 0001 00 01", marker + "001d 02 0000 0006 80 0f 03 0002 01",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(seed, " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := Read(bytes.NewReader(in))
		if err != nil {
			return
		}
		if !bytes.HasPrefix(in, m.Bytes()) {
			t.Fatalf("%x is read as %x", in, m.Bytes())
		}
		switch m.Type {
		case TypeOpen:
			o, err := ParseOpen(m.Body)
			if err != nil {
				return
			}
			again, err := ParseOpen(o.Forwarding().Message().Body)
			if err != nil || again.AS != o.AS || again.ID != o.ID {
				t.Fatalf("%+v is written so that it reads %+v, %v", o, again, err)
			}
		case TypeUpdate:
			_, _ = ParseUpdate(m.Body)
		case TypeNotification:
			_ = ParseNotification(m.Body).String()
		case TypeRouteRefresh:
			Refresh(m.Body)
		}
	})
}

func TestThrough(t *testing.T) {
	const as = 4200000001
	for _, c := range []struct {
		name, path string
		wide, want bool
	}{
		{"none", "", true, false},
		{"ours", "0201 fa56ea01", true, true},
		{"behind another", "0202 0000fc00 fa56ea01", true, true},
		{"in a set behind a sequence", "0201 0000fc00 0102 0000fc01 fa56ea01", true, true},
		{"others", "0202 0000fc00 0000fc01", true, false},
		{"of two octets", "0202 fc00 fc02", false, true},
		{"of two octets, others", "0201 fc00", false, false},
		{"an empty segment first", "0200 0201 fa56ea01", true, true},
		{"cut short", "0203 fa56ea01", true, false},
		{"half a segment", "02", true, false},
	} {
		u := Update{ASPath: hexBytes(t, c.path)}
		if got := u.Through(c.wide, as, 0xfc02); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestCarries(t *testing.T) {
	ipv4, ipv6 := Capability{CapMultiprotocol, []byte{0, 1, 0, 1}}, Capability{CapMultiprotocol, []byte{0, 2, 0, 1}}
	for _, c := range []struct {
		name               string
		caps               []Capability
		wantIPv4, wantIPv6 bool
	}{
		{"none", nil, true, false},
		{"another capability", []Capability{{CapRouteRefresh, nil}}, true, false},
		{"IPv4", []Capability{ipv4}, true, false},
		{"IPv6", []Capability{{CapRouteRefresh, nil}, ipv6}, false, true},
		{"both", []Capability{ipv4, ipv6}, true, true},
	} {
		o := Open{Capabilities: c.caps}
		if got4, got6 := o.Carries(false), o.Carries(true); got4 != c.wantIPv4 || got6 != c.wantIPv6 {
			t.Errorf("%s: IPv4 %v, IPv6 %v", c.name, got4, got6)
		}
	}
}
