package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is one typed setting, written and read as text. Ranges are the business
// of Validate.
type value interface {
	Set(text string) error
	String() string
}

type stringValue struct{ p *string }

func (v stringValue) Set(s string) error { *v.p = s; return nil }
func (v stringValue) String() string     { return *v.p }

type secretValue struct{ p *Secret }

func (v secretValue) Set(s string) error { *v.p = Secret(s); return nil }
func (v secretValue) String() string     { return v.p.String() }

type boolValue struct{ p *bool }

func (v boolValue) String() string { return strconv.FormatBool(*v.p) }
func (v boolValue) Set(s string) error {
	switch s {
	case "true", "false":
		*v.p = s == "true"
		return nil
	}
	return errors.New("write true or false")
}

type uintValue[T uint8 | uint16 | uint32] struct{ p *T }

func (v uintValue[T]) String() string { return strconv.FormatUint(uint64(*v.p), 10) }
func (v uintValue[T]) Set(s string) error {
	most := uint64(^T(0))
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > most {
		return fmt.Errorf("write a whole number from 0 to %d", most)
	}
	*v.p = T(n)
	return nil
}

type intValue struct{ p *int }

func (v intValue) String() string { return strconv.Itoa(*v.p) }
func (v intValue) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return errors.New("write a whole number, as in 10 or -10")
	}
	*v.p = int(n)
	return nil
}

type durationValue struct{ p *time.Duration }

// String leaves out the zeros of time.Duration's "3h0m0s".
func (v durationValue) String() string {
	s := v.p.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (v durationValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("write a number with its unit, as in 500ms, 10s, 2m or 3h")
	}
	*v.p = d
	return nil
}

// choiceValue is one of a few words.
type choiceValue[T ~string] struct {
	p     *T
	words []T
}

func (v choiceValue[T]) String() string { return string(*v.p) }
func (v choiceValue[T]) Set(s string) error {
	err := oneOf(T(s), v.words)
	if err == nil {
		*v.p = T(s)
	}
	return err
}

func oneOf[T ~string](s T, words []T) error {
	if slices.Contains(words, s) {
		return nil
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = string(w)
	}
	return fmt.Errorf("write one of %s", strings.Join(quoted, ", "))
}

// listValue is a list of words: a YAML sequence, or separated by commas.
type listValue struct{ p *[]string }

func (v listValue) String() string { return strings.Join(*v.p, ",") }
func (v listValue) Set(s string) error {
	var words []string
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word == "" && strings.TrimSpace(s) != "" {
			return errors.New("write names separated by single commas")
		} else if word != "" {
			words = append(words, word)
		}
	}
	*v.p = words
	return nil
}

type addrValue struct{ p *netip.Addr }

func (v addrValue) String() string {
	if !v.p.IsValid() {
		return ""
	}
	return v.p.String()
}

func (v addrValue) Set(s string) error {
	if s == "" {
		*v.p = netip.Addr{}
		return nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return errors.New("write an IP address, as in 192.0.2.1 or 2001:db8::1")
	}
	if a.Is4In6() {
		return fmt.Errorf("write the IPv4 address %s as such", a.Unmap())
	}
	*v.p = a
	return nil
}

// prefixesValue is a list of networks. A plain address stands for itself alone.
type prefixesValue struct{ p *[]netip.Prefix }

func (v prefixesValue) String() string {
	words := make([]string, len(*v.p))
	for i, p := range *v.p {
		words[i] = p.String()
	}
	return strings.Join(words, ",")
}

func (v prefixesValue) Set(s string) error {
	var words []string
	if err := (listValue{&words}).Set(s); err != nil {
		return err
	}
	out := make([]netip.Prefix, len(words))
	for i, word := range words {
		p, err := netip.ParsePrefix(word)
		if a, alone := netip.ParseAddr(word); alone == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch {
		case err != nil:
			return fmt.Errorf("%q is not a network; write networks in CIDR notation, as in 192.0.2.0/24 or 2001:db8::/64", word)
		case p.Addr().Is4In6():
			return fmt.Errorf("%q is IPv4-mapped; write the IPv4 network as such", word)
		case p != p.Masked():
			return fmt.Errorf("%q has bits of an address beyond its length; write %s", word, p.Masked())
		case slices.Contains(out[:i], p):
			return fmt.Errorf("%q is listed twice; remove one", word)
		}
		out[i] = p
	}
	*v.p = out
	return nil
}

type levelValue struct{ p *slog.Level }

var levels = []string{"debug", "info", "warn", "error"}

func (v levelValue) String() string { return strings.ToLower(v.p.String()) }
func (v levelValue) Set(s string) error {
	if err := oneOf(s, levels); err != nil {
		return err
	}
	return v.p.UnmarshalText([]byte(s))
}

type portsValue struct{ p *PortRange }

func (v portsValue) String() string { return v.p.String() }
func (v portsValue) Set(s string) error {
	r, err := ParsePortRange(s)
	if err == nil {
		*v.p = r
	}
	return err
}
