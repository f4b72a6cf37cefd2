package api

import (
	"cmp"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/near"
)

// NotFound says that nothing is known of a Service.
type NotFound struct {
	Service string   `json:"service"`
	Near    []string `json:"near,omitempty"` // names that may have been meant
}

func (e *NotFound) Error() string {
	text := "no LoadBalancer Service is called " + e.Service
	if len(e.Near) > 0 {
		text += "; did you mean " + strings.Join(e.Near, " or ") + "?"
	}
	return text
}

// Names lists the Services that have tables, or a reason for not being in force, by
// namespace/name.
func Names(status Status) (names []string) {
	for _, s := range status.Services {
		names = append(names, desired.ServiceOf(s.Name))
	}
	for _, r := range status.Reasons {
		names = append(names, r.Service)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// longest is the length of a name that can be: a namespace and a Service have 63 bytes each.
const longest = 63 + len("/") + 63

// mostNear is how many names are offered instead of one that is not there.
const mostNear = 3

// Near returns the names that are like service, the likest first: those of the same name
// in another namespace, and those that differ by few letters.
func Near(service string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	_, wanted, _ := strings.Cut(service, "/")
	var alike []candidate
	if len(service) > longest {
		names = nil
	}
	for _, n := range names {
		_, own, _ := strings.Cut(n, "/")
		switch d := near.Distance(service, n); {
		case d <= max(1, (len(wanted)+1)/2):
			alike = append(alike, candidate{n, d})
		case own == wanted:
			alike = append(alike, candidate{n, 0})
		case wanted != "" && strings.HasPrefix(own, wanted):
			alike = append(alike, candidate{n, d})
		}
	}
	slices.SortStableFunc(alike, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	out := []string{}
	for _, c := range alike[:min(len(alike), mostNear)] {
		out = append(out, c.name)
	}
	return out
}
