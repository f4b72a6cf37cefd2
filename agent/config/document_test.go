package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func TestTableHoldsEveryKey(t *testing.T) {
	var b strings.Builder
	if err := WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if got, want := len(lines), 2+len(settings)+len(peerSettings)+len(advertisementSettings)+len(poolSettings); got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
	for _, l := range lines {
		if strings.Count(strings.ReplaceAll(l, `\|`, ""), "|") != 5 {
			t.Errorf("not four columns: %s", l)
		}
	}
	for _, want := range []string{
		"| `nat.ports` | `1024-29999` | needs a restart | Source ports of translated flows.",
		"| `bgp.peers[].holdTime` | `9s` | applies live | Silence",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("missing: %s", want)
		}
	}
}

// Flags are listed in the order of the alphabet, so that no meaning may lean on
// the one before it.
func TestMeaningsStandAlone(t *testing.T) {
	for _, k := range Keys() {
		if strings.HasPrefix(k.Doc, "The same") || strings.Contains(k.Doc, "they ") {
			t.Errorf("%s: %s", k.Name, k.Doc)
		}
	}
	d := Default().Datapath
	for _, want := range []string{fmt.Sprintf("%d tables", d.MaxRows/d.Rows), fmt.Sprintf("%d MiB", d.MaxRows*20>>20)} {
		if i := slices.IndexFunc(Keys(), func(k Key) bool { return k.Name == "datapath.maxRows" }); !strings.Contains(Keys()[i].Doc, want) {
			t.Errorf("datapath.maxRows does not say %q: %s", want, Keys()[i].Doc)
		}
	}
}

func TestFlagNames(t *testing.T) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddFlags(fs)
	for _, name := range []string{"compile", "datapath-icmp-rate", "bgp-router-id", "nat-timeouts-syn", "bgp-graceful-restart-restart-time", "node"} {
		if fs.Lookup(name) == nil {
			t.Errorf("no flag --%s", name)
		}
	}
	if fs.Lookup("datapath-seed") != nil {
		t.Error("the seed is a flag, which every user of the host can read")
	}
}

func TestWarnings(t *testing.T) {
	if got := mustParse(t, "").Warnings(); len(got) != 3 {
		t.Errorf("warnings of the default: %q", got)
	}
	for text, want := range map[string]string{
		"source: {kind: kubernetes}":                "pools is empty",
		"pools: [{name: a, addresses: [10.0.0.1]}]": "pools is of no use",
		"pools: [{name: a, addresses: [10.0.0.1, \"2001:db8::1\"]}]\nbgp: {advertisements: [{name: few, pools: [a]}]}": "vips is not set",
		"role: backend":                          "",
		"role: backend\ntunnel: {port: 6081}":    "tunnel.port is 6081",
		"role: backend\ndatapath: {sources: /x}": "datapath.sources is set",
	} {
		got := strings.Join(mustParse(t, text).Warnings(), "; ")
		if got == "" && want == "" || want != "" && strings.HasPrefix(got, want) {
			continue
		}
		t.Errorf("warnings of %q: %q, want %q", text, got, want)
	}
	quiet := "vips: [192.0.2.0/24]\ndatapath: {seed: x}\nbgp: {asn: 64512, peers: [{address: 192.0.2.1, asn: 64513}]}"
	const allocated = "source: {kind: kubernetes}\npools: [{name: a, addresses: [10.0.0.1]}]\ndatapath: {seed: x}\nbgp: {asn: 64512, peers: [{address: 192.0.2.1, asn: 64513}]}"
	unreached := strings.TrimSuffix(quiet, "}") + ", advertisements: [{name: a, peers: [192.0.2.1]}, {name: b, med: 1}, {name: c, pools: []}]}"
	if got := mustParse(t, unreached).Warnings(); len(got) != 1 || !strings.HasPrefix(got[0], "bgp.advertisements[2] (c) never counts, as b before it") {
		t.Errorf("warnings of an entry that is not reached: %q", got)
	}
	for _, text := range []string{quiet, allocated} {
		if got := mustParse(t, text).Warnings(); len(got) != 0 {
			t.Errorf("warnings: %q", got)
		}
	}
}

func TestDefaultFileOfARole(t *testing.T) {
	for role, other := range map[Role]string{RoleLB: "maxYoungFlows", RoleBackend: "bgp"} {
		text := DefaultFileFor(role)
		want := Default()
		want.Role, want.Node = role, mustParse(t, "").Node
		if diff := cmp.Diff(want, mustParse(t, text), compareConfigs); diff != "" {
			t.Errorf("%s: want -, got +\n%s", role, diff)
		}
		if strings.Contains(text, other) {
			t.Errorf("%s has %s", role, other)
		}
	}
	ours := slices.DeleteFunc(slices.Clone(ofIngressNodes), func(key string) bool {
		return slices.ContainsFunc(settingKeys(), func(k string) bool { return k == key || strings.HasPrefix(k, key+".") })
	})
	if len(ours) > 0 {
		t.Errorf("no such keys: %v", ours)
	}
}
