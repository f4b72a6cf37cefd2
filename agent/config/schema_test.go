package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// chart is the Helm chart, whose values have sections of this configuration.
const chart = "../../deploy/chart"

// TestChartSchema holds the part of the chart's schema that is about penstock.yaml to the code. With
// -update it writes it.
func TestChartSchema(t *testing.T) {
	path := filepath.Join(chart, "values.schema.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	file["$defs"].(map[string]any)["config"] = Schema()
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(file); err != nil {
		t.Fatal(err)
	}
	held(t, path, b, want.Bytes())
}

// TestChartKeys does the same for what the chart's templates know of keys: what a running agent
// applies, and so is no reason for new pods, and what counts on ingress nodes.
func TestChartKeys(t *testing.T) {
	path := filepath.Join(chart, "templates/_keys.tpl")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	held(t, path, b, []byte(chartKeys()))
}

// chartKeys writes the keys by JSON, for fromJsonArray. A list of sections is one key: it
// applies live when all keys of its entries do.
func chartKeys() string {
	live, ofLB, ofBackend := []string{}, []string{}, []string{}
	sort := func(name string, isLive bool) {
		if isLive {
			live = append(live, name)
		}
		if RoleLB.counts(name) {
			ofLB = append(ofLB, name)
		}
		if RoleBackend.counts(name) {
			ofBackend = append(ofBackend, name)
		}
	}
	for _, s := range settings {
		sort(s.Name, s.Live)
	}
	for _, l := range lists {
		isLive := true
		for _, k := range Keys() {
			isLive = isLive && (k.Live || !strings.HasPrefix(k.Name, l.key+"[]."))
		}
		sort(l.key, isLive)
	}
	var b strings.Builder
	b.WriteString("{{/* Written by `go test ./agent/config -run Chart -update` from the table of keys. */}}\n")
	for _, list := range []struct {
		name string
		keys []string
	}{{"live", live}, {"lb", ofLB}, {"backend", ofBackend}} {
		text, _ := json.Marshal(list.keys) // texts alone
		fmt.Fprintf(&b, "{{- define \"penstock.keys.%s\" -}}\n%s\n{{- end }}\n", list.name, bytes.ReplaceAll(text, []byte(","), []byte(",\n")))
	}
	return b.String()
}

func held(t *testing.T, path string, got, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs from the code; write it with `go test ./agent/config -run Chart -update` (-want +got):\n%s", path, diff)
	}
}

// TestSchemaRequired: what the schema asks of a list's entry, Load asks too.
func TestSchemaRequired(t *testing.T) {
	full := map[string]map[string]string{
		peersKey:          {"address": "192.0.2.1", "asn": "64512"},
		advertisementsKey: {"name": "a"},
		poolsKey:          {"name": "a", "addresses": "198.51.100.0/24"},
	}
	for key, entry := range full {
		for _, names := range required[key] {
			for _, name := range names {
				if _, ok := entry[name]; !ok {
					continue // another one stands for it
				}
				if _, err := Parse("", []byte(entryYAML(key, entry, name)), nil); err == nil {
					t.Errorf("%s is taken without %s", key, name)
				}
			}
		}
		if _, err := Parse("", []byte(entryYAML(key, entry, "")), nil); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// entryYAML is a file with one entry of a list, without the key of that name.
func entryYAML(key string, entry map[string]string, without string) string {
	var words []string
	for name, text := range entry {
		if name != without {
			words = append(words, fmt.Sprintf("%s: %q", name, text))
		}
	}
	list := fmt.Sprintf("[{%s}]", strings.Join(words, ", "))
	if section, name, ok := strings.Cut(key, "."); ok {
		return fmt.Sprintf("%s: {asn: 64513, %s: %s}\n", section, name, list)
	}
	return fmt.Sprintf("%s: %s\n", key, list)
}
