package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// file is the YAML file, checked for its shape and flattened to texts.
type file struct {
	name  string
	text  map[string]string // by key; lists separated by commas
	line  map[string]int    // of each key, and of each entry of a list
	items map[string]int    // how many entries a list has, by its key
	faults
}

// parseFile checks keys and kinds of nodes; values stay text. Syntax errors are
// faults too.
func parseFile(name string, data []byte) *file {
	f := &file{name: name, text: map[string]string{}, line: map[string]int{}, items: map[string]int{}}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // empty, or comments alone
		return f
	case err != nil:
		f.fault(0, "", "", "%s; correct the YAML", strings.TrimPrefix(err.Error(), "yaml: "))
		return f
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		f.fault(0, "", "", "more than one YAML document; join them")
	}
	f.section("", resolve(doc.Content[0]))
	return f
}

func (f *file) fault(line int, key, value, format string, args ...any) {
	f.add(key, value, format, args...)
	e := f.faults[len(f.faults)-1]
	e.Source, e.line = f.at(line), line
}

func (f *file) at(line int) string {
	if line == 0 {
		return f.name
	}
	return fmt.Sprintf("%s:%d", f.name, line)
}

// section reads a mapping that stands for the keys below path.
func (f *file) section(path string, n *yaml.Node) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		f.fault(n.Line, path, brief(n), "it is a section; write its keys below it, indented")
		return
	}
	f.mapping(n, func(line int, name string, value *yaml.Node) {
		key := name
		if path != "" {
			key = path + "." + name
		}
		f.line[key] = line
		l, ok := listAt(key)
		switch {
		case ok:
			f.list(l, value)
		case isSection(key):
			f.section(key, value)
		case !f.leaf(key, value, settingKeys()):
			names := append(append(settingKeys(), sections()...), listKeys()...)
			f.fault(line, "", "", "unknown key %q%s", key, suggest(key, names))
		}
	})
}

// mapping calls do for each entry, with aliases resolved.
func (f *file) mapping(n *yaml.Node, do func(line int, name string, value *yaml.Node)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if first, twice := seen[k.Value]; twice {
			f.fault(k.Line, "", "", "key %q is on line %d already; keep one of them", k.Value, first)
			continue
		}
		seen[k.Value] = k.Line
		do(k.Line, k.Value, resolve(n.Content[i+1]))
	}
}

func (f *file) list(l list, n *yaml.Node) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		f.fault(n.Line, l.key, brief(n), "write a list, each %s beginning with a dash", l.item)
		return
	}
	for i, item := range n.Content {
		item = resolve(item)
		entry := l.entry(i, "")
		f.line[entry] = item.Line
		f.items[l.key]++
		if item.Kind != yaml.MappingNode {
			f.fault(item.Line, entry, brief(item), "write the %s's keys, at least %s", l.item, l.least)
			continue
		}
		f.mapping(item, func(line int, name string, value *yaml.Node) {
			key := l.entry(i, name)
			f.line[key] = line
			if known := l.entries(i); !f.leaf(key, value, known) {
				f.fault(line, "", "", "unknown key %q%s", key, suggest(key, known))
			}
		})
	}
}

// leaf takes a scalar or a list of scalars; false where known does not have key.
func (f *file) leaf(key string, n *yaml.Node, known []string) bool {
	if !slices.Contains(known, key) {
		return false
	}
	switch {
	case isNull(n):
		f.fault(f.line[key], key, "", "it has no value; write one, or remove the key for its default")
	case n.Kind == yaml.ScalarNode:
		f.text[key] = n.Value
	case n.Kind == yaml.SequenceNode && isList(key):
		var words []string
		for _, item := range n.Content {
			if item = resolve(item); item.Kind != yaml.ScalarNode || strings.Contains(item.Value, ",") {
				f.fault(item.Line, key, brief(item), "write plain words in the list")
				return true
			}
			words = append(words, item.Value)
		}
		f.text[key] = strings.Join(words, ",")
	default:
		f.fault(f.line[key], key, "", "write a single value")
	}
	return true
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// brief shows a scalar in an error, and nothing of larger things.
func brief(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	return ""
}
