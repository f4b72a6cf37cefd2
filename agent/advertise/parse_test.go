package advertise

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestBandwidth(t *testing.T) {
	for text, want := range map[string]struct {
		bandwidth Bandwidth
		bytes     uint64
		again     string
	}{
		"":         {Bandwidth{}, 0, ""},
		"auto":     {Bandwidth{Auto: true}, 5, "auto"},
		"10G":      {Bandwidth{Rate: 10_000_000_000}, 1_250_000_000, "10G"},
		"2500000k": {Bandwidth{Rate: 2_500_000_000}, 312_500_000, "2500M"},
		"1000000":  {Bandwidth{Rate: 1_000_000}, 125_000, "1M"},
		"1000001":  {Bandwidth{Rate: 1_000_001}, 125_000, "1000001"},
		"100T":     {Bandwidth{Rate: 100_000_000_000_000}, 12_500_000_000_000, "100T"},
	} {
		got, err := ParseBandwidth(text)
		if err != nil || got != want.bandwidth || got.bytes(5) != want.bytes || got.String() != want.again {
			t.Errorf("%q: %+v (%s), %d bytes per second, %v", text, got, got, got.bytes(5), err)
		}
	}
	for _, text := range []string{"Auto", "10", "999999", "1G ", "G", "1.5G", "10g", "-1G", "+1G", "100001G", "18446744073709551616", "1MM"} {
		if got, err := ParseBandwidth(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzParseBandwidth(f *testing.F) {
	for _, text := range []string{"auto", "10G", "2500M", "1000k", "18446744073709551615T", "007M"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBandwidth(text)
		if err != nil {
			return
		}
		if again, err := ParseBandwidth(b.String()); err != nil || again != b || !b.Auto && b.Rate != 0 && (b.Rate < minRate || b.Rate > maxRate) {
			t.Errorf("%q is %+v, %q is %+v, %v", text, b, b, again, err)
		}
	})
}

// Whoever may annotate a Service writes the text.
func FuzzParseCommunities(f *testing.F) {
	for _, text := range []string{"", "64512:100, no-export,1:2:3", "1:2,1:02", ",", "::", strings.Repeat("1:1,", 200) + "1:1", strings.Repeat("9", 1000)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCommunities(text)
		if err != nil {
			if len(err.Error()) > 400 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		var words []string
		for _, s := range c.Standard {
			words = append(words, s.String())
		}
		for _, l := range c.Large {
			words = append(words, l.String())
		}
		again, err := ParseCommunities(strings.Join(words, ","))
		if err != nil || !slices.Equal(again.Standard, c.Standard) || !slices.Equal(again.Large, c.Large) || !slices.IsSorted(c.Standard) {
			t.Errorf("%q is %+v, and again %+v, %v", text, c, again, err)
		}
	})
}

func TestTooManyCommunities(t *testing.T) {
	var words []string
	for i := range 128 {
		words = append(words, fmt.Sprintf("64512:%d", i))
	}
	if _, err := ParseCommunities(strings.Join(words, ",")); err == nil || !strings.Contains(err.Error(), "128 communities") {
		t.Errorf("128 communities: %v", err)
	}
	words[127] = "64512:00"
	if _, err := ParseCommunities(strings.Join(words, ",")); err != nil {
		t.Errorf("127, one of them twice: %v", err)
	}
}
