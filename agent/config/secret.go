package config

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a text that no log, error, dump or API shows. Only Reveal gives it.
type Secret string

const redacted = "[redacted]"

// Reveal gives the text to the one who needs it.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format covers every verb, as fmt prints the bare text for wrong ones. Only %p,
// which vet refuses, does not come here.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText covers JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue covers slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
