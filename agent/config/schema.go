package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/ipam"
)

// Schema describes penstock.yaml as JSON Schema (draft 2020-12), from the same settings that read
// it: what it refuses, Load refuses too. What keys say of each other it does not know.
func Schema() map[string]any {
	root := object()
	for _, s := range settings {
		at := s.at(Default())
		place(root, s.Name, describe(s.Key, at, bounds(s.Name, at, func(text string) faults {
			c := Default()
			c.Node = "node"
			if s.at(c).Set(text) != nil {
				return nil
			}
			return c.faults()
		})))
	}
	place(root, peersKey, listSchema(peersKey, defaultPeer, peerSettings,
		func(c *Config, p Peer) { c.BGP.Peers = append(c.BGP.Peers, p) }))
	place(root, advertisementsKey, listSchema(advertisementsKey, defaultAdvertisement, advertisementSettings,
		func(c *Config, e advertise.Entry) { c.BGP.Advertisements = append(c.BGP.Advertisements, e) }))
	place(root, poolsKey, listSchema(poolsKey, defaultPool, poolSettings, func(c *Config, p ipam.Pool) { c.Pools = append(c.Pools, p) }))
	return root
}

// required are the keys that an entry of a list must have. Of those in a second list, one.
var required = map[string][2][]string{
	peersKey:          {{"asn"}, {"address", "gateway", "interface"}},
	advertisementsKey: {{"name"}},
	poolsKey:          {{"name", "addresses"}},
}

func listSchema[C any](key string, empty func() C, settings []setting[C], into func(*Config, C)) map[string]any {
	item := object()
	for _, s := range settings {
		entry := empty()
		at := s.at(&entry)
		place(item, s.Name, describe(s.Key, at, bounds(entryKey(key, 0, s.Name), at, func(text string) faults {
			if at.Set(text) != nil {
				return nil
			}
			c := Default()
			into(c, entry)
			return c.faults()
		})))
	}
	item["required"] = required[key][0]
	if choice := required[key][1]; len(choice) > 0 {
		var one []map[string]any
		for _, name := range choice {
			one = append(one, map[string]any{"required": []string{name}})
		}
		item["anyOf"] = one
	}
	return map[string]any{"type": "array", "items": item}
}

func object() map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{}}
}

// place puts what is known of a key at its place, in sections that it makes.
func place(section map[string]any, key string, what map[string]any) {
	names := section["properties"].(map[string]any)
	head, rest, below := strings.Cut(key, ".")
	if !below {
		names[head] = what
		return
	}
	if names[head] == nil {
		names[head] = object()
	}
	place(names[head].(map[string]any), rest, what)
}

// bounds asks Validate for the least and the most of a number.
func bounds(key string, at value, faults func(text string) faults) (out outside) {
	most, ok := largest(at)
	if !ok {
		return out
	}
	out = outside{"0", most}
	for _, text := range []string{most, "0"} {
		for _, f := range faults(text) {
			var o *outside
			switch {
			case f.Key != key:
			case errors.As(f.Err, &o):
				return *o
			case text == "0": // refused for what it means, as that of an AS
				out.least = "1"
			}
		}
	}
	return out
}

// largest is what a number's type can hold.
func largest(at value) (string, bool) {
	switch at.(type) {
	case uintValue[uint8]:
		return fmt.Sprint(^uint8(0)), true
	case uintValue[uint16]:
		return fmt.Sprint(^uint16(0)), true
	case uintValue[uint32], optionalValue:
		return fmt.Sprint(^uint32(0)), true
	}
	return "", false
}

// worded is a value that is one of a few words.
type worded interface{ choices() []string }

func (v choiceValue[T]) choices() (out []string) {
	for _, w := range v.words {
		out = append(out, string(w))
	}
	return out
}
func (levelValue) choices() []string { return levels }

const (
	durationForm = `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$`
	addressForm  = `^([0-9A-Fa-f:.]+(%.+)?)?$`
	portsForm    = `^ *[0-9]+ *- *[0-9]+ *$`
)

// describe says in JSON Schema what a key takes. Its kinds are those of kindOf.
func describe(k Key, at value, o outside) map[string]any {
	out := map[string]any{"description": k.Doc}
	kind := kindOf(at)
	words, choice := at.(worded)
	switch {
	case choice:
		out["enum"] = words.choices()
	case o.most != "":
		out["type"], out["minimum"], out["maximum"] = "integer", json.Number(o.least), json.Number(o.most)
	case kind == "bool":
		out["type"] = "boolean"
	case kind == "number":
		out["type"] = "integer"
	case kind == "duration": // 0 needs no unit
		out["type"], out["pattern"], out["maximum"] = []string{"string", "integer"}, durationForm, 0
		out["minimum"] = 0
	case kind == "address":
		out["type"], out["pattern"] = "string", addressForm
	case kind == "ports":
		out["type"], out["pattern"] = "string", portsForm
	case kind == "list": // or one text, with commas
		out["type"], out["items"] = []string{"array", "string"}, map[string]any{"type": "string"}
	default:
		out["type"] = "string"
		if _, rate := at.(bandwidthValue); rate {
			out["type"] = []string{"string", "integer"}
		}
	}
	if k.Live {
		out["$comment"] = "A running agent applies a change."
	}
	return out
}
