package advertise

import (
	"errors"
	"strconv"
	"strings"
)

// Bandwidth is what the link-bandwidth community says of a node. The zero value is none.
type Bandwidth struct {
	Auto bool   // what the node can take
	Rate uint64 // bits per second
}

const auto = "auto"

// Rates are between those of any link that is worth a community and what a community can say.
const (
	minRate = 1_000_000
	maxRate = 100_000_000_000_000
)

var units = []struct {
	letter string
	bits   uint64
}{{"T", 1_000_000_000_000}, {"G", 1_000_000_000}, {"M", 1_000_000}, {"k", 1_000}, {"", 1}}

// ParseBandwidth reads auto, or bits per second with a unit of powers of ten, as in 10G.
func ParseBandwidth(text string) (Bandwidth, error) {
	switch text {
	case "":
		return Bandwidth{}, nil
	case auto:
		return Bandwidth{Auto: true}, nil
	}
	wrong := errors.New("write auto or bits per second, a whole number with k, M, G or T, from 1M to 100T, as in 10G or 2500M")
	for _, u := range units {
		digits, ends := strings.CutSuffix(text, u.letter)
		if !ends {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || n > maxRate/u.bits || n*u.bits < minRate {
			return Bandwidth{}, wrong
		}
		return Bandwidth{Rate: n * u.bits}, nil
	}
	return Bandwidth{}, wrong
}

// String is what ParseBandwidth reads, with the largest unit that it is a multiple of.
func (b Bandwidth) String() string {
	if b.Auto {
		return auto
	}
	for _, u := range units {
		if b.Rate > 0 && b.Rate%u.bits == 0 {
			return strconv.FormatUint(b.Rate/u.bits, 10) + u.letter
		}
	}
	return ""
}

func (b Bandwidth) bytes(capacity uint64) uint64 {
	if b.Auto {
		return capacity
	}
	return b.Rate / 8
}
