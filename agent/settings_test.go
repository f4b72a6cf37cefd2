package agent

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/agent/config"
)

// others are values apart from the defaults, for the keys whose kind has no
// obvious one.
var others = map[string]string{
	"datapath.unmatched": "drop", "datapath.mode": "generic", "datapath.rows": "32768", "datapath.maxRows": "8388608",
	"nat.ports": "2000-3000", "bgp.routerID": "10.9.9.9", "datapath.seed": "secret", "bgp.asn": "64999",
	"bgp.gracefulRestart.restartTime": "77s", "nat.timeouts.closed": "6s", "bgp.gracefulRestart.longLivedTime": "2h",
	"bgp.drain.prepend": "3", "bgp.damping.reuse": "800",
}

// given is everything that the leaves are given for a configuration.
func given(c *config.Config) []any {
	id, _ := routerID(c)
	b := bgpConfig(c, id, false)
	return []any{bpfConfig(c), mapsOptions(c), b, modeOf(c), drainOptions(c), dampingOptions(c)}
}

// TestKeysReachTheLeaves changes each key of the data path, the translation and
// BGP, and looks whether that makes a difference.
func TestKeysReachTheLeaves(t *testing.T) {
	elsewhere := map[string]bool{
		"datapath.interfaces": true, // read live, by the pass
		"datapath.seedFile":   true, // config reads it into the seed

		"bgp.warmup": true, "bgp.damping.enabled": true, // read live, when a VIP is judged
	}
	const file = "bgp:\n  asn: 64512\n  peers: [{name: tor, address: 10.0.0.254, asn: 64513, families: [ipv4, ipv6], nextHop6: '2001:db8::1'}]\n"
	before, err := config.Parse("test", []byte(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	before.BGP.RouterID = testConfig().BGP.RouterID
	for _, k := range config.Keys() {
		section, _, _ := strings.Cut(k.Name, ".")
		if section != "datapath" && section != "nat" && section != "bgp" || elsewhere[k.Name] || strings.Contains(k.Name, "[]") {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			t.Setenv("PENSTOCK_"+strings.ToUpper(strings.ReplaceAll(k.Name, ".", "_")), other(k))
			after, err := config.Parse("test", []byte(file), nil)
			if err != nil {
				t.Fatal(err)
			}
			if k.Name != "bgp.routerID" {
				after.BGP.RouterID = before.BGP.RouterID
			}
			if reflect.DeepEqual(given(before), given(after)) {
				t.Errorf("%s makes no difference", k.Name)
			}
		})
	}
}

// other is a valid value that is not the default.
func other(k config.Key) string {
	if v, ok := others[k.Name]; ok {
		return v
	}
	switch k.Default {
	case "true":
		return "false"
	case "false":
		return "true"
	}
	if k.Default != "" && strings.Trim(k.Default, "0123456789") == "" {
		return "4242"
	}
	if d, err := time.ParseDuration(k.Default); err == nil {
		return (2 * d).String()
	}
	return "/other"
}

// TestEveryFieldIsUsed looks for a use of each field of the configuration, peers
// included, in the agent and in the command.
func TestEveryFieldIsUsed(t *testing.T) {
	used := map[string]bool{}
	for _, pattern := range []string{"*.go", "node/*.go", "cluster/*.go", "control/*.go", "../cmd/penstock/*.go", "config/peer.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") {
				selectors(t, f, used)
			}
		}
	}
	byConfig := map[string]bool{ // package config has used these up
		"Datapath.SeedFile": true, "BGP.Peers.PasswordFile": true, "Datapath.Seed": used["SeedBytes"],
	}
	var walk func(typ reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		for f := range typ.Fields() {
			name := strings.TrimPrefix(path+"."+f.Name, ".")
			if !used[f.Name] && !byConfig[name] {
				t.Errorf("nothing uses %s", name)
			}
			inner := f.Type
			if inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && inner.PkgPath() == typ.PkgPath() {
				walk(inner, name)
			}
		}
	}
	walk(reflect.TypeFor[config.Config](), "")
}

func selectors(t *testing.T, file string, used map[string]bool) {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := parser.ParseFile(token.NewFileSet(), file, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			used[s.Sel.Name] = true
		}
		return true
	})
}

// LB nodes whose flows would go elsewhere say so by their placement.
func TestPlacement(t *testing.T) {
	same := testConfig()
	same.NAT.MaxFlows, same.Log.Format = 77, "json"
	want := placement(testConfig())
	if got := placement(same); got != want || len(want) != 4 {
		t.Errorf("placement %q with other settings that do not matter, %q before", got, want)
	}
	for name, change := range map[string]func(*config.Config){
		"seed":       func(c *config.Config) { c.Datapath.Seed = "another" },
		"rows":       func(c *config.Config) { c.Datapath.Rows *= 2 },
		"retention":  func(c *config.Config) { c.Chains.Retention++ },
		"slack":      func(c *config.Config) { c.Chains.Slack++ },
		"extraRanks": func(c *config.Config) { c.Chains.ExtraRanks-- },
		"longest":    func(c *config.Config) { c.Chains.Longest-- },
		"forwarding": func(c *config.Config) { c.Forwarding = "nat" },
	} {
		c := testConfig()
		change(c)
		if placement(c) == want {
			t.Errorf("another %s, the same placement", name)
		}
	}
}

// So do those that would give other addresses.
func TestAllocation(t *testing.T) {
	pools := func(edit string) *config.Config {
		file := filepath.Join(t.TempDir(), "penstock.yaml")
		text := strings.Replace(`{node: lb1, source: {kind: kubernetes}, vips: [192.0.2.0/24], pools: [{name: a, addresses: [192.0.2.0/28], serviceSelector: tier=front}]}`,
			strings.Split(edit, "|")[0], strings.Split(edit, "|")[1], 1)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	want := allocation(pools("|"))
	if got := allocation(pools("lb1|lb2")); got != want {
		t.Errorf("allocation %q on another node, %q before", got, want)
	}
	for _, edit := range []string{"name: a|name: b", "/28|/29", "tier=front|tier=back", "/24|/25", "{node|{defaultClass: true, node", "tier=front|tier=front, priority: 1"} {
		if allocation(pools(edit)) == want {
			t.Errorf("edited %s, the same allocation", edit)
		}
	}
}
