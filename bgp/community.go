package bgp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Community is a standard community (RFC 1997): an AS in the upper 16 bits, its value in the lower.
type Community uint32

// Well-known communities, by the names that routers' configurations have for them.
const (
	GracefulShutdown  Community = 0xffff0000 // RFC 8326
	AcceptOwn         Community = 0xffff0001 // RFC 7611
	LLGRStale         Community = 0xffff0006 // RFC 9494
	NoLLGR            Community = 0xffff0007 // RFC 9494
	Blackhole         Community = 0xffff029a // RFC 7999
	NoExport          Community = 0xffffff01 // RFC 1997
	NoAdvertise       Community = 0xffffff02 // RFC 1997
	NoExportSubconfed Community = 0xffffff03 // RFC 1997
	NoPeer            Community = 0xffffff04 // RFC 3765
)

var wellKnown = map[string]Community{
	"graceful-shutdown": GracefulShutdown, "accept-own": AcceptOwn, "llgr-stale": LLGRStale, "no-llgr": NoLLGR,
	"blackhole": Blackhole, "no-export": NoExport, "no-advertise": NoAdvertise,
	"no-export-subconfed": NoExportSubconfed, "no-peer": NoPeer,
}

// String gives a well-known community by its name and others as "64512:100".
func (c Community) String() string {
	for name, known := range wellKnown {
		if c == known {
			return name
		}
	}
	return fmt.Sprintf("%d:%d", c>>16, c&0xffff)
}

// MarshalText is String.
func (c Community) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is ParseCommunity.
func (c *Community) UnmarshalText(text []byte) (err error) {
	*c, err = ParseCommunity(string(text))
	return err
}

// ParseCommunity reads "64512:100" or a well-known name such as no-export.
func ParseCommunity(text string) (Community, error) {
	if c, ok := wellKnown[text]; ok {
		return c, nil
	}
	parts, err := numbers(text, 2, 16)
	if err != nil {
		return 0, fmt.Errorf("community %q: %w, as in 64512:100, or a name of %s", text, err, strings.Join(wellKnownNames(), ", "))
	}
	return Community(parts[0]<<16 | parts[1]), nil
}

func wellKnownNames() []string {
	var names []string
	for name := range wellKnown {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// LargeCommunity is one of RFC 8092: a global administrator, which is an AS, and two parts of its own.
type LargeCommunity struct{ Global, Local1, Local2 uint32 }

func (c LargeCommunity) String() string { return fmt.Sprintf("%d:%d:%d", c.Global, c.Local1, c.Local2) }

// MarshalText is String.
func (c LargeCommunity) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is ParseLargeCommunity.
func (c *LargeCommunity) UnmarshalText(text []byte) (err error) {
	*c, err = ParseLargeCommunity(string(text))
	return err
}

// ParseLargeCommunity reads "64512:1:2".
func ParseLargeCommunity(text string) (LargeCommunity, error) {
	parts, err := numbers(text, 3, 32)
	if err != nil {
		return LargeCommunity{}, fmt.Errorf("large community %q: %w, as in 64512:1:2", text, err)
	}
	return LargeCommunity{parts[0], parts[1], parts[2]}, nil
}

// numbers reads n decimal numbers of so many bits with colons between them.
func numbers(text string, n, bits int) ([]uint32, error) {
	words := strings.Split(text, ":")
	wrong := fmt.Errorf("give %d numbers from 0 to %d with colons between", n, uint64(1)<<bits-1)
	if len(words) != n {
		return nil, wrong
	}
	var out []uint32
	for _, word := range words {
		v, err := strconv.ParseUint(word, 10, bits)
		if err != nil {
			return nil, wrong
		}
		out = append(out, uint32(v))
	}
	return out, nil
}
