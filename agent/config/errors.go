package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/near"
)

// Error is one thing that is wrong with a configuration.
type Error struct {
	Source string // "penstock.yaml:12", "environment PENSTOCK_NODE", "flag --node", or empty
	Key    string // as in "bgp.peers[0].asn"; empty: the whole
	Value  string // empty where there is none or it is secret
	Err    error  // what is wrong, and the way out

	line int // of the file; 0 where there is none
}

func (e *Error) Error() string {
	var parts []string
	if e.Source != "" {
		parts = append(parts, e.Source)
	}
	switch {
	case e.Key != "" && e.Value != "":
		parts = append(parts, fmt.Sprintf("%s = %q", e.Key, e.Value))
	case e.Key != "":
		parts = append(parts, e.Key)
	}
	return strings.Join(append(parts, e.Err.Error()), ": ")
}

func (e *Error) Unwrap() error { return e.Err }

// faults collects errors in the order in which they are found.
type faults []*Error

func (f *faults) add(key, value, format string, args ...any) {
	*f = append(*f, &Error{Key: key, Value: value, Err: fmt.Errorf(format, args...)})
}

// sort goes by line. What has none, as it stands elsewhere or is missing, comes
// first.
func (f faults) sort() {
	slices.SortStableFunc(f, func(a, b *Error) int { return cmp.Compare(a.line, b.line) })
}

func (f faults) join() error {
	f.sort()
	errs := make([]error, len(f))
	for i, e := range f {
		errs[i] = e
	}
	return errors.Join(errs...)
}

// suggest gives " (did you mean …?)" for the candidate that is nearest to a
// mistyped name, or nothing where none is near.
func suggest(name string, candidates []string) string {
	type candidate struct {
		name string
		dist int
	}
	var found []candidate
	if len(name) > maxName {
		return ""
	}
	for _, c := range candidates {
		d := near.Distance(strings.ToLower(name), strings.ToLower(c))
		if strings.EqualFold(lastPart(name), lastPart(c)) {
			d = min(d, 2) // right key, wrong section
		}
		if d <= min(2, len(name)/2) {
			found = append(found, candidate{c, d})
		}
	}
	if len(found) == 0 {
		return ""
	}
	best := slices.MinFunc(found, func(a, b candidate) int { return cmp.Compare(a.dist, b.dist) })
	return fmt.Sprintf(" (did you mean %s?)", best.name)
}

// maxName is above any key and any variable, in bytes; the distance of longer
// names costs time and says nothing.
const maxName = 100

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }
