package peers

import (
	"reflect"
	"slices"

	"github.com/penstock-lb/penstock/bgp"
)

// keeps are the fields that a session does not depend on: a change of them is applied while it
// is up.
var keeps = []string{"Password", "MaxPrefixes", "MaxPrefixesRestart", "BFD"}

// keys are the names of fields in the configuration, where that is not the field's with a small
// letter.
var keys = map[string]string{"ASN": "asn", "BFD": "bfd", "MultihopTTL": "multihopTTL", "TTLSecurity": "ttlSecurity"}

// Resets gives the keys by which two peers of one name differ so that the session with the
// one has to end before that with the other begins; none where it goes on.
func Resets(before, after bgp.Peer) (out []string) {
	a, b := reflect.ValueOf(before), reflect.ValueOf(after)
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		if slices.Contains(keeps, name) || reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			continue
		}
		out = append(out, keyOf(name))
	}
	return out
}

func keyOf(field string) string {
	if key, ok := keys[field]; ok {
		return key
	}
	return string(field[0]|0x20) + field[1:]
}
