package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/penstock-lb/penstock/bgp"
)

// attributesOf writes what a router chooses by, in the words of routers' configurations.
func attributesOf(a bgp.Attributes) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	for _, c := range a.Communities {
		add("%s", c)
	}
	for _, c := range a.LargeCommunities {
		add("large %s", c)
	}
	if a.LocalPref != nil {
		add("local-pref %d", *a.LocalPref)
	}
	if a.MED != nil {
		add("MED %d", *a.MED)
	}
	if a.Prepend > 0 {
		add("prepend %d", a.Prepend)
	}
	if a.Bandwidth > 0 {
		add("bandwidth %s", bitRate(a.Bandwidth))
	}
	return strings.Join(parts, ", ")
}

// bitRate writes bytes per second in bits, with a decimal prefix, as links are sold.
func bitRate(bytes uint64) string {
	f, prefix := float64(bytes)*8, ""
	for _, next := range []string{"k", "M", "G", "T"} {
		if f < 1000 {
			break
		}
		f, prefix = f/1000, next
	}
	return strconv.FormatFloat(f, 'g', 4, 64) + " " + prefix + "bit/s"
}
