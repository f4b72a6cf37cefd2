package peers

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/bgp"
)

func TestResets(t *testing.T) {
	base := "name: a, address: 192.0.2.1"
	for edit, want := range map[string][]string{
		"":                                 {},
		"maxPrefixes: 5":                   {},
		"bfd: true":                        {},
		"holdTime: 30s":                    {"holdTime"},
		"passive: true, localASN: 64600":   {"localASN", "passive"},
		"ttlSecurity: true":                {"ttlSecurity"},
		"multihopTTL: 2, families: [ipv4]": {"multihopTTL", "families"},
		"nodes: [lb1], nodeSelector: a=b":  {},
	} {
		before, after := parse(t, base)[0], parse(t, base+", "+edit)[0]
		got := Resets(before.BGP(), after.BGP())
		if d := cmp.Diff(want, append([]string{}, got...)); d != "" {
			t.Errorf("%s: %s", edit, d)
		}
	}
	p, q := bgp.Peer{Password: "old"}, bgp.Peer{Password: "new"}
	if got := Resets(p, q); len(got) > 0 {
		t.Errorf("another password: %v", got)
	}
}

// Fields are told by the names of their keys.
func TestFieldsAreKeys(t *testing.T) {
	var known []string
	for _, k := range config.Keys() {
		if name, ok := strings.CutPrefix(k.Name, "bgp.peers[]."); ok {
			known = append(known, name)
		}
	}
	for f := range reflect.TypeFor[bgp.Peer]().Fields() {
		if key := keyOf(f.Name); !slices.Contains(known, key) && f.Name != "Password" {
			t.Errorf("field %s is called %s, which is no key", f.Name, key)
		}
	}
}
