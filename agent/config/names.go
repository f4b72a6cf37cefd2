package config

import (
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/pflag"
)

const envPrefix = "PENSTOCK_"

// envName gives PENSTOCK_DATAPATH_BPFFS for datapath.bpffs.
func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// flagName gives datapath-icmp-rate for datapath.icmpRate.
func flagName(key string) string {
	if key == "datapath.compile" {
		return "compile"
	}
	var b strings.Builder
	lower := false
	for _, r := range strings.ReplaceAll(key, ".", "-") {
		if lower && unicode.IsUpper(r) {
			b.WriteByte('-')
		}
		lower = unicode.IsLower(r)
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// AddFlags defines a flag for every key but the lists of sections and the secret ones.
// Their values count when the set is given to Load.
func AddFlags(fs *pflag.FlagSet) {
	def := Default()
	for _, s := range settings {
		at := s.at(def)
		if _, secret := at.(secretValue); secret {
			continue
		}
		f := fs.VarPF(&flagText{kind: kindOf(at)}, flagName(s.Name), "", strings.ReplaceAll(s.Doc, "`", ""))
		f.DefValue = at.String()
		if f.Value.Type() == "bool" {
			f.NoOptDefVal = "true"
		}
	}
}

// flagText is a flag whose text Load parses, so that errors look alike wherever
// a value comes from.
type flagText struct{ text, kind string }

func (f *flagText) Set(s string) error { f.text = s; return nil }
func (f *flagText) String() string     { return f.text }
func (f *flagText) Type() string       { return f.kind }

func kindOf(v value) string {
	switch v.(type) {
	case boolValue:
		return "bool"
	case uintValue[uint32], uintValue[uint16], uintValue[uint8], intValue:
		return "number"
	case durationValue:
		return "duration"
	case addrValue:
		return "address"
	case portsValue:
		return "ports"
	case listValue, prefixesValue, rangesValue, communitiesValue, largeCommunitiesValue:
		return "list"
	}
	return "string"
}

func settingKeys() []string {
	out := make([]string, len(settings))
	for i, s := range settings {
		out[i] = s.Name
	}
	return out
}

// sections gives the names above the keys: "nat" and "nat.timeouts".
func sections() []string {
	var out []string
	for _, key := range settingKeys() {
		for i, r := range key {
			if r == '.' && !slices.Contains(out, key[:i]) {
				out = append(out, key[:i])
			}
		}
	}
	return out
}

func isSection(key string) bool { return slices.Contains(sections(), key) }

// isList reports whether a key, of an entry too, takes a YAML sequence of words.
func isList(key string) bool {
	for _, s := range settings {
		if s.Name == key && kindOf(s.at(new(Config))) == "list" {
			return true
		}
	}
	l, ok := listAbove(key)
	return ok && slices.Contains(l.words, lastPart(key))
}
