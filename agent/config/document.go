package config

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteTable writes the keys as a Markdown table.
func WriteTable(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| Key | Default | A change | Meaning |\n|---|---|---|---|\n")
	for _, k := range Keys() {
		def, change := "", "needs a restart"
		if k.Default != "" {
			def = "`" + k.Default + "`"
		}
		if k.Live {
			change = "applies live"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, def, change, strings.ReplaceAll(k.Doc, "|", `\|`))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// DefaultFile is a file that sets every key to its default, with its meaning
// above it. Peers and pools, which have no default, are examples in comments.
func DefaultFile() string { return defaultFile("", "Every key") }

// DefaultFileFor is DefaultFile with the keys that count for one role.
func DefaultFileFor(role Role) string {
	return defaultFile(role, "Every key of role "+string(role))
}

// ofIngressNodes are the keys, and sections, that count for RoleBackend. Those of
// RoleLB are all but the section backend.
var ofIngressNodes = []string{
	"node", "role", "source.kind", "source.directory", "source.kubeconfig", "source.namespace", "source.daemonSet", "lbNodes", "datapath.interfaces", "datapath.mode", "datapath.compile", "datapath.clang",
	"datapath.sources", "datapath.bpffs", "datapath.discardFlows", "tunnel.port", "backend", "shutdown", "drainTimeout", "metrics", "api", "log",
}

// counts tells whether a key means anything to a role; to none, every key does.
func (r Role) counts(key string) bool {
	section, _, _ := strings.Cut(key, ".")
	switch r {
	case RoleLB:
		return section != "backend"
	case RoleBackend:
		return slices.Contains(ofIngressNodes, key) || slices.Contains(ofIngressNodes, section)
	}
	return true
}

func defaultFile(role Role, keys string) string {
	var b strings.Builder
	b.WriteString("# Configuration of the Penstock agent. " + keys + " is shown with its default and can\n" +
		"# be left out. PENSTOCK_DATAPATH_BPFFS in the environment overrides datapath.bpffs,\n" +
		"# and the flag --datapath-bpffs overrides both. [live] marks what a running agent\n" +
		"# applies when this file changes; the rest needs a restart.\n")
	var open []string
	def := Default()
	if role != "" {
		def.Role = role
	}
	for _, s := range settings {
		if !role.counts(s.Name) {
			continue
		}
		path := strings.Split(s.Name, ".")
		above, name := path[:len(path)-1], path[len(path)-1]
		if len(open) == 0 || open[0] != path[0] {
			if len(open) > 0 {
				writeList(&b, open[0])
			}
			b.WriteByte('\n')
		}
		shared := 0
		for shared < min(len(open)-1, len(above)) && open[shared] == above[shared] {
			shared++
		}
		for i := shared; i < len(above); i++ {
			fmt.Fprintf(&b, "%s%s:\n", indent(i), above[i])
		}
		at := s.at(def)
		comment(&b, indent(len(above)), s.Key)
		fmt.Fprintf(&b, "%s%s: %s\n", indent(len(above)), name, yamlText(at))
		open = path
	}
	return b.String()
}

// writeList follows what stands above a list with an example of one entry.
func writeList(b *strings.Builder, above string) {
	switch above {
	case "bgp":
		b.WriteString("  # Routers. A change of one leaves the sessions of the others alone. [live]\n  # peers:\n")
		writeEntry(b, "  ", defaultPeer(), peerSettings, map[string]string{"name": "tor1", "address": "192.0.2.1", "asn": "64512"})
		b.WriteString("\n  # What which routers are told of which Services: the first entry decides that selects a\n" +
			"  # VIP and is for the router. Without any, everything to all of them. [live]\n  # advertisements:\n")
		writeEntry(b, "  ", defaultAdvertisement(), advertisementSettings, map[string]string{"name": "edge"})
	case "vips":
		b.WriteString("\n# Addresses that Services get, with source.kind: kubernetes. No two pools have one in\n" +
			"# common. A change takes no Service's address away. The same on all LB nodes. [live]\n# pools:\n")
		writeEntry(b, "", defaultPool(), poolSettings, map[string]string{"name": "public", "addresses": `[192.0.2.0/24, "2001:db8::/64"]`})
	}
}

func writeEntry[C any](b *strings.Builder, indent string, empty C, settings []setting[C], example map[string]string) {
	for i, s := range settings {
		text, ok := example[s.Name]
		if !ok {
			text = yamlText(s.at(&empty))
		}
		dash := "  "
		if i == 0 {
			dash = "- "
		}
		fmt.Fprintf(b, "%s#   %s%s: %s # %s\n", indent, dash, s.Name, text, plain(s.Doc))
	}
}

func indent(depth int) string { return strings.Repeat("  ", depth) }

func yamlText(v value) string {
	text := v.String()
	switch v.(type) {
	case listValue, prefixesValue, rangesValue, communitiesValue, largeCommunitiesValue:
		return "[" + strings.ReplaceAll(text, ",", ", ") + "]"
	case boolValue, durationValue, uintValue[uint32], uintValue[uint16], uintValue[uint8], intValue:
		return text
	}
	if text == "" || strings.ContainsAny(text, ":#") {
		return fmt.Sprintf("%q", text)
	}
	return text
}

// comment writes a key's meaning in lines of at most 88 columns.
func comment(b *strings.Builder, indent string, k Key) {
	doc := plain(k.Doc) + "."
	if k.Live {
		doc += " [live]"
	}
	line := indent + "#"
	for word := range strings.FieldsSeq(doc) {
		if len(line)+1+len(word) > 88 {
			b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}

func plain(markdown string) string { return strings.ReplaceAll(markdown, "`", "") }
