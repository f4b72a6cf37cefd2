package packet

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Diff tells in which fields, and in which bytes, two Ethernet frames differ. It
// is empty if they do not.
func Diff(want, got []byte) string {
	if string(want) == string(got) {
		return ""
	}
	var b strings.Builder
	if diff := cmp.Diff(fields(want), fields(got)); diff != "" {
		fmt.Fprintf(&b, "fields (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(lines(hex.Dump(want)), lines(hex.Dump(got))); diff != "" {
		fmt.Fprintf(&b, "bytes (-want +got):\n%s", diff)
	}
	return b.String()
}

// String lists an Ethernet frame's layers with their fields.
func String(frame []byte) string { return strings.Join(fields(frame), "\n") }

func fields(frame []byte) (list []string) {
	for _, l := range headers(frame) {
		name, rest, _ := strings.Cut(gopacket.LayerString(l), "{")
		list = append(list, strings.TrimSpace(name))
		for field := range strings.FieldsSeq(strings.TrimSuffix(rest, "}")) {
			if !strings.HasPrefix(field, "Contents=") && !strings.HasPrefix(field, "Payload=") {
				list = append(list, "  "+field)
			}
		}
	}
	return list
}

func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }

// headers are the frame's layers up to the transport. Beyond it gopacket guesses
// by port what the payload might be.
func headers(frame []byte) []gopacket.Layer {
	all := decode(frame).Layers()
	for i, l := range all {
		if _, ok := l.(gopacket.TransportLayer); ok {
			return all[:i+1]
		}
	}
	return all
}

func decode(frame []byte) gopacket.Packet {
	return gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
}

// Verify checks all lengths and checksums that an Ethernet frame shows. The
// transport's is not checked in fragments.
func Verify(frame []byte) error {
	p := decode(frame)
	if e := p.ErrorLayer(); e != nil && p.TransportLayer() == nil {
		return fmt.Errorf("decode frame: %w", e.Error())
	}
	for _, l := range p.Layers() {
		// Decoding leaves out what the transport's checksum covers of the IP header.
		if l, ok := l.(checksummed); ok && p.NetworkLayer() != nil {
			if err := l.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
				return fmt.Errorf("verify checksums: %w", err)
			}
		}
	}
	err, mismatches := p.VerifyChecksums()
	if err != nil {
		return fmt.Errorf("verify checksums: %w", err)
	}
	for _, m := range mismatches {
		return fmt.Errorf("%s checksum is %#04x, should be %#04x", m.Layer.LayerType(), m.Actual, m.Correct)
	}
	return nil
}
