package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// table prints aligned columns, with a dash for what is empty.
type table struct {
	w    *tabwriter.Writer
	cols int
}

func newTable(w io.Writer, header ...string) *table {
	t := &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), len(header)}
	t.row(header...)
	return t
}

// row leaves out the cells that only a wider table has a header for.
func (t *table) row(cells ...string) {
	cells = slices.Clone(cells[:min(len(cells), t.cols)])
	for len(cells) < t.cols {
		cells = append(cells, "")
	}
	for i, c := range cells {
		cells[i] = cmp.Or(printable(c), "-")
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

// printable writes what a terminal would obey rather than show as Go does, line ends too:
// whoever may write a Service or a Node says some of what is printed.
func printable(s string) string {
	shown := func(r rune) bool { return strconv.IsPrint(r) && r != utf8.RuneError }
	if strings.IndexFunc(s, func(r rune) bool { return !shown(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if shown(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.Quote(s[i : i+size])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return b.String()
}

func (t *table) flush() error { return t.w.Flush() }

// print writes v as JSON, or calls people.
func (c *cli) print(v any, people func(io.Writer) error) error {
	if c.output == "json" {
		enc := json.NewEncoder(c.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	return people(c.stdout)
}

func number[T uint16 | uint32 | uint64 | int](n T) string { return strconv.FormatUint(uint64(n), 10) }

// size writes bytes with a binary prefix.
func size(n uint64) string {
	if n < 1024 {
		return number(n)
	}
	f, prefix := float64(n)/1024, 0
	for f >= 1024 {
		f, prefix = f/1024, prefix+1
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTPE"[prefix])
}

// age writes how long ago t was, in its two largest units.
func age(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return span(now.Sub(t))
}

func span(d time.Duration) string {
	d = max(d, 0)
	days := int(d / (24 * time.Hour))
	h, m, s := int(d.Hours())%24, int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%dh", days, h)
	case h > 0:
		return fmt.Sprintf("%dh%dm", h, m)
	case m > 0:
		return fmt.Sprintf("%dm%ds", m, s)
	}
	return fmt.Sprintf("%ds", s)
}

// list joins items; a long list ends in how many more there are.
func list(items []string) string {
	const most = 3
	if len(items) > most+1 { // one more is said no shorter by its number
		return fmt.Sprintf("%s and %d more", strings.Join(items[:most], ", "), len(items)-most)
	}
	return strings.Join(items, ", ")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
