package load

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is what became of all connections.
type Report struct {
	Held        int           // connections that are held now, and had an answer
	Requests    int           // that were answered, on all connections
	Fresh       int           // connections for one request that had their answer
	Longest     time.Duration // that an answer took, and with it the connection if that was new
	WrongClient int           // answers of proxies that saw another address than the client's
	Failed      []Failure     // new connections without an answer, those to be held too
	Ends        []End         // of held connections
}

// Failure is a new connection that brought no answer.
type Failure struct {
	Target string
	Proxy  string // if an answer had said so
	At     time.Time
	Why    string
}

// End is how a held connection ended.
type End struct {
	Target string
	Proxy  string // that had it
	At     time.Time
	Asked  bool // the last answer had Connection: close
	Clean  bool // the server closed it, and no part of an answer had come
	Why    string
}

// Broken are the ends that excused does not excuse. Only those that the server made cleanly are
// put to it.
func (r Report) Broken(excused func(End) bool) (broken []End) {
	for _, e := range r.Ends {
		if !e.Clean || !excused(e) {
			broken = append(broken, e)
		}
	}
	return broken
}

// Summary counts causes, the most frequent first, of failures and of the ends that are given.
func (r Report) Summary(ends []End) string {
	count := map[string]int{}
	for _, f := range r.Failed {
		count["new connection: "+f.Why]++
	}
	for _, e := range ends {
		count["held connection: "+e.Why]++
	}
	causes := slices.SortedFunc(maps.Keys(count), func(a, b string) int { return cmp.Compare(count[b], count[a]) })
	for i, c := range causes {
		causes[i] = fmt.Sprintf("%d × %s", count[c], c)
	}
	return strings.Join(causes, "; ")
}
