package bfd

import (
	"fmt"
	"slices"
	"strconv"
)

// State is a session state of RFC 5880 section 4.1, as on the wire.
type State uint8

const (
	AdminDown State = iota
	Down
	Init
	Up
)

var stateNames = []string{"adminDown", "down", "init", "up"}

func (s State) String() string { return nameOf(stateNames, uint8(s)) }

// MarshalText gives the name of the state.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes what MarshalText gives.
func (s *State) UnmarshalText(b []byte) error {
	v, err := codeOf(stateNames, string(b))
	*s = State(v)
	return err
}

// Diag is a diagnostic code of RFC 5880 section 4.1: why a system last left the state Up.
type Diag uint8

const (
	NoDiagnostic Diag = iota
	DetectionTimeExpired
	EchoFailed
	NeighborSignaledDown
	ForwardingPlaneReset
	PathDown
	ConcatenatedPathDown
	AdministrativelyDown
	ReverseConcatenatedPathDown
)

var diagNames = []string{
	"none", "detectionTimeExpired", "echoFailed", "neighborSignaledDown", "forwardingPlaneReset",
	"pathDown", "concatenatedPathDown", "administrativelyDown", "reverseConcatenatedPathDown",
}

func (d Diag) String() string { return nameOf(diagNames, uint8(d)) }

// MarshalText gives the name of the diagnostic, or its number if it has none.
func (d Diag) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText takes what MarshalText gives.
func (d *Diag) UnmarshalText(b []byte) error {
	v, err := codeOf(diagNames, string(b))
	*d = Diag(v)
	return err
}

func nameOf(names []string, code uint8) string {
	if int(code) < len(names) {
		return names[code]
	}
	return strconv.Itoa(int(code))
}

func codeOf(names []string, name string) (uint8, error) {
	if i := slices.Index(names, name); i >= 0 {
		return uint8(i), nil
	}
	v, err := strconv.ParseUint(name, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("%q is neither one of %v nor a number", name, names)
	}
	return uint8(v), nil
}
