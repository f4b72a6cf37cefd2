package bfd

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var upPacket = Packet{
	State: Up, Diag: NeighborSignaledDown, Poll: true, ControlPlaneIndependent: true, Multiplier: 3,
	MyDiscriminator: 0x01020304, YourDiscriminator: 0x05060708,
	DesiredMinTx: 50 * time.Millisecond, RequiredMinRx: 60 * time.Millisecond, RequiredMinEchoRx: 70 * time.Millisecond,
}

// upBytes is upPacket, written down by hand from the figure in RFC 5880 section 4.1.
var upBytes = []byte{
	0x23, 0xe8, 3, 24,
	1, 2, 3, 4,
	5, 6, 7, 8,
	0x00, 0x00, 0xc3, 0x50,
	0x00, 0x00, 0xea, 0x60,
	0x00, 0x01, 0x11, 0x70,
}

func TestPacketBytes(t *testing.T) {
	if diff := cmp.Diff(upBytes, upPacket.Append(nil)); diff != "" {
		t.Errorf("bytes (-want +got):\n%s", diff)
	}
	got, err := Parse(upBytes)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(upPacket, got); diff != "" {
		t.Errorf("packet (-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(b []byte) []byte
		want error
	}{
		{"good", func(b []byte) []byte { return b }, nil},
		{"padded datagram", func(b []byte) []byte { return append(b, 0, 0) }, nil},
		{"empty", func([]byte) []byte { return nil }, BadLength},
		{"cut", func(b []byte) []byte { return b[:23] }, BadLength},
		{"version 0", func(b []byte) []byte { b[0] &= 0x1f; return b }, BadVersion},
		{"version 2", func(b []byte) []byte { b[0] = 2<<5 | b[0]&0x1f; return b }, BadVersion},
		{"length 23", func(b []byte) []byte { b[3] = 23; return b }, BadLength},
		{"length above the datagram", func(b []byte) []byte { b[3] = 25; return b }, BadLength},
		{"authenticated without a section", func(b []byte) []byte { b[1] |= flagAuth; return append(b, 1, 2) }, BadLength},
		{"authenticated", func(b []byte) []byte { b[1] |= flagAuth; b[3] = 26; return append(b, 1, 2) }, Authenticated},
		{"multiplier 0", func(b []byte) []byte { b[2] = 0; return b }, ZeroMultiplier},
		{"multipoint", func(b []byte) []byte { b[1] |= flagMultipoint; return b }, Multipoint},
		{"my discriminator 0", func(b []byte) []byte { clear(b[4:8]); return b }, ZeroMyDiscriminator},
		{"your discriminator 0 when up", func(b []byte) []byte { clear(b[8:12]); return b }, ZeroYourDiscriminator},
		{"your discriminator 0 in init", func(b []byte) []byte { clear(b[8:12]); return withState(b, Init) }, ZeroYourDiscriminator},
		{"your discriminator 0 when down", func(b []byte) []byte { clear(b[8:12]); return withState(b, Down) }, nil},
		{"your discriminator 0 in adminDown", func(b []byte) []byte { clear(b[8:12]); return withState(b, AdminDown) }, nil},
		{"reserved diagnostic", func(b []byte) []byte { b[0] |= diagMask; return b }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Parse(c.edit(append([]byte(nil), upBytes...))); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

func withState(b []byte, s State) []byte {
	b[1] = b[1]&0x3f | byte(s)<<6
	return b
}

func FuzzParse(f *testing.F) {
	f.Add(upBytes)
	f.Add(withState(append([]byte(nil), upBytes...), Down))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			if reason := Reason(""); !errors.As(err, &reason) || reason == "" {
				t.Fatalf("error %v is not a reason", err)
			}
			if p != (Packet{}) {
				t.Fatalf("refused packet is not empty: %+v", p)
			}
			return
		}
		encoded := p.Append(nil)
		if diff := cmp.Diff(append(append([]byte(nil), b[:3]...), packetLen), encoded[:4]); diff != "" {
			t.Fatalf("first word (-read +written):\n%s", diff)
		}
		if diff := cmp.Diff(b[4:packetLen], encoded[4:]); diff != "" {
			t.Fatalf("rest (-read +written):\n%s", diff)
		}
		if again, err := Parse(encoded); err != nil || again != p {
			t.Fatalf("read again: %+v, %v; want %+v", again, err, p)
		}
	})
}

func TestNames(t *testing.T) {
	for i := range 32 {
		var d Diag
		if text, _ := Diag(i).MarshalText(); d.UnmarshalText(text) != nil || d != Diag(i) {
			t.Errorf("diagnostic %d is %s, which reads as %d", i, text, d)
		}
	}
	for s := AdminDown; s <= Up; s++ {
		var got State
		if text, _ := s.MarshalText(); got.UnmarshalText(text) != nil || got != s {
			t.Errorf("state %d is %s, which reads as %d", s, text, got)
		}
	}
	if err := new(Diag).UnmarshalText([]byte("nonsense")); err == nil {
		t.Error("a diagnostic called nonsense was accepted")
	}
}
