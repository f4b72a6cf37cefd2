package main

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/maps"
)

// verdict is a counter with what it counts.
type verdict struct {
	maps.VerdictCount
	Meaning string `json:"meaning"`
}

// verdictComment is a value of enum verdict with its comment, in types.h.
var verdictComment = regexp.MustCompile(`(?s)VERDICT_(\w+)[^,/]*,\s*/\*(.*?)\*/`)

// meanings reads the comments of enum verdict in the sources that the binary
// carries, by name, so that there is no second list of them.
var meanings = sync.OnceValues(func() (map[string]string, error) {
	text, err := bpf.Sources.ReadFile("types.h")
	if err != nil {
		return nil, fmt.Errorf("read what verdicts mean: %w", err)
	}
	found := map[string]string{}
	for _, m := range verdictComment.FindAllStringSubmatch(string(text), -1) {
		words := strings.Fields(strings.NewReplacer("\n\t", " ", " * ", " ").Replace(m[2]))
		found[strings.ToLower(m[1])] = strings.Join(words, " ")
	}
	return found, nil
})

func explain(counts []maps.VerdictCount) ([]verdict, error) {
	texts, err := meanings()
	out := make([]verdict, len(counts))
	for i, c := range counts {
		out[i] = verdict{c, texts[c.Name]}
	}
	return out, err
}
