package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
)

// mostAlike is how many lines of one reason are shown; JSON has all.
const mostAlike = 5

// trouble is one part of a Service that is not in force.
type trouble struct{ service, subject, reason, detail string }

// printTrouble lists what is not in force: a line for each Service and reason,
// and of many Services with one reason the first few.
func printTrouble(w io.Writer, s api.Status) error {
	var all []trouble
	for _, svc := range s.Services {
		if svc.Error != "" {
			service, port, _ := strings.Cut(svc.Name, ":")
			all = append(all, trouble{service, "port " + port, string(api.Refused), svc.Error})
		}
	}
	for _, r := range s.Reasons {
		all = append(all, trouble{r.Service, r.Subject, string(r.Reason), r.Detail})
	}
	for _, p := range s.Source.Problems {
		all = append(all, trouble{reason: string(api.SourceProblem), detail: p.String()})
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b trouble) int {
		return cmp.Or(cmp.Compare(a.reason, b.reason), cmp.Compare(a.service, b.service))
	})
	var rows [][]string
	for len(all) > 0 {
		n := 1
		fold := folded(all[0].reason)
		for n < len(all) && all[0].service != "" && (fold || all[n].service == all[0].service) && all[n].reason == all[0].reason {
			n++
		}
		object := all[0].service + " " + subjects(all[:n])
		if fold {
			object = services(all[:n])
		}
		rows = append(rows, []string{strings.TrimSpace(object), all[0].reason, details(all[:n])})
		all = all[n:]
	}
	fmt.Fprintln(w)
	t := newTable(w, "OBJECT", "REASON", "DETAIL")
	for _, r := range collapse(rows, 1) {
		t.row(r...)
	}
	return t.flush()
}

// folded tells of reasons that are nobody's trouble here: all Services with one are a line.
func folded(reason string) bool {
	r := desired.Reason(reason)
	return r == desired.AddressPending || desired.ServiceReason{Reason: r}.Foreign()
}

// services names those of all, without their parts.
func services(all []trouble) string {
	var names []string
	for _, t := range all {
		names = append(names, t.service)
	}
	return list(slices.Compact(names))
}

// subjects names the parts of a Service. Ports of which both families are meant
// are named once.
func subjects(all []trouble) string {
	if len(all) == 1 {
		return all[0].subject
	}
	var names []string
	families := map[string]bool{}
	ports := true
	for _, t := range all {
		name, isPort := strings.CutPrefix(t.subject, "port ")
		ports = ports && isPort
		if i := strings.LastIndexByte(name, '/'); isPort && (strings.HasSuffix(name, "/ipv4") || strings.HasSuffix(name, "/ipv6")) {
			families[name[i+1:]] = true
			name = name[:i]
		}
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	text := list(names)
	if ports && len(names) == 1 {
		text = "port " + text
	} else if ports {
		text = "ports " + text
	}
	if len(families) == 1 {
		for f := range families {
			text += ", " + f
		}
	}
	return text
}

// details is the first one, with how many others there are.
func details(all []trouble) string {
	var texts []string
	for _, t := range all {
		if !slices.Contains(texts, t.detail) {
			texts = append(texts, t.detail)
		}
	}
	if len(texts) > 1 {
		return fmt.Sprintf("%s (and %d more)", texts[0], len(texts)-1)
	}
	return texts[0]
}

// collapse keeps the first few of the rows that have the same in a column, and
// says how many more there are. Rows with nothing in it are all kept.
func collapse(rows [][]string, column int) [][]string {
	seen, total := map[string]int{}, map[string]int{}
	for _, r := range rows {
		total[r[column]]++
	}
	var out [][]string
	for _, r := range rows {
		key := r[column]
		seen[key]++
		switch {
		case key == "" || seen[key] <= mostAlike || total[key] == mostAlike+1:
			out = append(out, r)
		case seen[key] == mostAlike+1:
			more := make([]string, len(r))
			more[0], more[column] = fmt.Sprintf("and %d more", total[key]-mostAlike), key
			out = append(out, more)
		}
	}
	return out
}
