package manifests

import "bytes"

// document is one of a file, with its place.
type document struct {
	text   []byte
	number int // from 1; empty documents do not count
	line   int // of its first line that is neither blank nor a comment, from 1
	above  int // lines of the file before the one on which text begins
}

// split cuts a YAML stream at its markers (YAML 1.2, section 9.1): a line that
// is "---" or "...", alone or followed by a space. What follows "---" on its
// line belongs to the document; directives before it do not. Markers inside of scalars are indented, so that
// no cut can fall into one.
func split(data []byte) []document {
	var out []document
	begin, above, content, line := 0, 0, 0, 0
	emit := func(end int) {
		if content > 0 {
			out = append(out, document{text: data[begin:end], number: len(out) + 1, line: content, above: above})
		}
		content = 0
	}
	for at := 0; at < len(data); {
		next := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		line++
		text := data[at:next]
		if marker(text, "---") || marker(text, "...") {
			emit(at)
			begin, above = at+3, line-1
			text = text[3:]
		}
		if t := bytes.TrimSpace(text); content == 0 && len(t) > 0 && t[0] != '#' && text[0] != '%' {
			content = line
		}
		at = next
	}
	emit(len(data))
	return out
}

func marker(line []byte, mark string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}
