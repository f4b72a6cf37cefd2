package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/agent/config"
)

// TestLint has Helm check the chart, as strictly as it can.
func TestLint(t *testing.T) {
	for name, values := range sites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out, err := Helm(t, values, "lint", "--strict", Chart, "--values", "-"); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// TestFiles: agents take the files that the chart writes, and each role gets what it is to get.
func TestFiles(t *testing.T) {
	for name, values := range sites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := render(t, values)
			for role, want := range map[string]config.Role{"lb": config.RoleLB, "backend": config.RoleBackend} {
				text := o.file(role)
				if name == "no ingress nodes" && role == "backend" {
					if text != "" || o.template(role) != nil {
						t.Error("there are objects for ingress nodes")
					}
					continue
				}
				cfg := load(t, text)
				if cfg.Role != want || cfg.Source.Kind != config.SourceKubernetes {
					t.Errorf("role %s from %s", cfg.Role, cfg.Source.Kind)
				}
				if role == "backend" && (strings.Contains(text, "seed") || strings.Contains(text, "bgp")) {
					t.Errorf("ingress nodes are told what is LB nodes' affair:\n%s", text)
				}
			}
		})
	}
}

// load reads a penstock.yaml as the agent does. The secrets that it names are files of this test.
func load(t *testing.T, text string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"/etc/penstock-seed/", "/etc/penstock-passwords/"} {
		text = strings.ReplaceAll(text, d, dir+"/")
	}
	for _, name := range []string{"seed", "tor1", "any"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Parse("penstock.yaml", []byte(text), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return cfg
}

// TestMerge: a role's own configuration is over that of both.
func TestMerge(t *testing.T) {
	o := render(t, sites["roles apart"])
	lb, backend := load(t, o.file("lb")), load(t, o.file("backend"))
	got := []any{
		lb.Datapath.Interfaces, lb.Datapath.Rows, lb.Log.Format, lb.Tunnel.Port, lb.LBNodes, lb.Datapath.SeedFile != "",
		backend.Datapath.Interfaces, backend.Backend.MTU, backend.Log.Format, backend.Log.Level.String(), backend.Tunnel.Port, backend.LBNodes,
	}
	want := []any{
		[]string{"eth0", "eth1"}, uint32(65536), "json", uint16(7000), "example.com/edge=yes", true,
		[]string{"bond0"}, uint16(1500), "json", "DEBUG", uint16(7000), "example.com/edge=yes",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	numbers := load(t, render(t, sites["routers and pools"]).file("lb"))
	if p := numbers.BGP.Peers[0]; p.ASN != 4200000000 || numbers.BGP.ASN != 4200000001 {
		t.Errorf("AS numbers %d and %d", p.ASN, numbers.BGP.ASN)
	}
}

// TestEnvironment: an agent takes its pod's variables together with the file, and has nothing to
// complain of but what a site has yet to say.
func TestEnvironment(t *testing.T) {
	o := render(t, sites["least"])
	for _, role := range []string{"lb", "backend"} {
		t.Run(role, func(t *testing.T) {
			env, _ := at(o.container(role), "env").([]any)
			for _, e := range env {
				value, _ := at(e, "value").(string)
				switch at(e, "valueFrom", "fieldRef", "fieldPath") {
				case "spec.nodeName":
					value = "node1"
				case "metadata.namespace":
					value = "edge"
				}
				t.Setenv(at(e, "name").(string), value)
			}
			cfg := load(t, o.file(role))
			got := []string{cfg.Node, cfg.Source.Namespace, cfg.Source.DaemonSet, string(cfg.Shutdown)}
			if want := []string{"node1", "edge", "penstock-" + role, "auto"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			for _, w := range cfg.Warnings() {
				if role == "backend" || !strings.HasPrefix(w, "pools is empty") && !strings.HasPrefix(w, "bgp.peers is empty") {
					t.Errorf("it warns: %s", w)
				}
			}
		})
	}
}

// TestNamespace: all is in the release's namespace, and the policies name it.
func TestNamespace(t *testing.T) {
	out, err := Template(t, "edge", seeded)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, namespace) {
			t.Errorf("another namespace in %s", line)
		}
	}
	if !strings.Contains(out, "'system:serviceaccount:edge:penstock-lb'") {
		t.Error("the policies do not name the namespace")
	}
}

// TestPods: what pods have that depends on values.
func TestPods(t *testing.T) {
	caps := func(o objects, role string) string {
		return fmt.Sprint(at(o.container(role), "securityContext", "capabilities"))
	}
	least := render(t, sites["least"])
	more := render(t, sites["more capabilities"])
	apart := render(t, sites["roles apart"])
	all := render(t, sites["all options"])
	for _, c := range []struct{ what, got, want string }{
		{"capabilities", caps(least, "lb"), "map[add:[BPF NET_ADMIN PERFMON] drop:[ALL]]"},
		{"capabilities of ingress nodes", caps(more, "backend"), "map[add:[BPF NET_ADMIN PERFMON] drop:[ALL]]"},
		{"capabilities of peers", caps(more, "lb"), "map[add:[BPF NET_ADMIN PERFMON NET_RAW NET_BIND_SERVICE] drop:[ALL]]"},
		{"probe", fmt.Sprint(at(least.container("lb"), "readinessProbe", "httpGet")), "map[path:/readyz port:metrics]"},
		{"probe of loopback", fmt.Sprint(at(apart.container("lb"), "readinessProbe", "httpGet")), "map[host:127.0.0.2 path:/readyz port:metrics]"},
		{"port", fmt.Sprint(at(apart.container("backend"), "ports", 0, "containerPort")), "9481"},
		{"where LB nodes are", fmt.Sprint(at(apart.template("lb"), "spec", "nodeSelector")), "map[example.com/edge:yes kubernetes.io/os:linux]"},
		{"where ingress nodes are not", fmt.Sprint(at(apart.template("backend"), "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms", 0, "matchExpressions", 0)),
			"map[key:example.com/edge operator:NotIn values:[yes]]"},
		{"image", fmt.Sprint(at(all.container("lb"), "image")), "registry.example.com/penstock@sha256:" + strings.Repeat("0a", 32)},
		{"passwords", fmt.Sprint(at(all.template("lb"), "spec", "volumes", 2, "secret", "secretName")), "bgp"},
		{"priority", fmt.Sprint(at(all.template("lb"), "spec", "priorityClassName")), "<nil>"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, c.got, c.want)
		}
	}
	for key := range all {
		if strings.HasPrefix(key, "ValidatingAdmission") || strings.Contains(key, "uninstall") {
			t.Errorf("%s is there, and was turned off", key)
		}
	}
}

// TestRestarts: what a running agent applies is no reason for new pods, and all else is one, of
// those for which it counts.
func TestRestarts(t *testing.T) {
	before := render(t, seeded+"config: {log: {format: text}, pools: [{name: a, addresses: [198.51.100.0/28]}]}")
	for _, c := range []struct {
		name, values string
		want         []string // roles with new pods
	}{
		{"nothing", "config: {log: {format: text}, pools: [{name: a, addresses: [198.51.100.0/28]}]}", nil},
		{"live keys", `
config:
  log: {format: text, level: debug}
  defaultClass: true
  drainTimeout: 20s
  datapath: {interfaces: [eth0]}
  pools: [{name: b, addresses: [198.51.100.16/28]}]
  bgp: {peers: [], warmup: 30s, advertisements: [{name: all}]}
bgpPasswords: {values: {tor1: secret}}`, nil},
		{"both roles' key", "config: {log: {format: json}}", []string{"backend", "lb"}},
		{"LB nodes' key", "config: {log: {format: text}, nat: {maxFlows: 1000}}", []string{"lb"}},
		{"ingress nodes' key", "config: {log: {format: text}, backend: {mtu: 1500}}", []string{"backend"}},
		{"own key", "config: {log: {format: text}}\nlb: {config: {bgp: {listenPort: 1179}}}", []string{"lb"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			after := render(t, seeded+c.values)
			var got []string
			for _, role := range []string{"backend", "lb"} {
				if !cmp.Equal(before.template(role), after.template(role)) {
					got = append(got, role)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("new pods of %v, want %v", got, c.want)
			}
		})
	}
}

// TestUninstallRights: by Helm's Job and by hand, `penstock uninstall` may do the same.
func TestUninstallRights(t *testing.T) {
	b, err := os.ReadFile("../../deploy/uninstall/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	byHand, byHelm := parse(t, string(b)), render(t, seeded)
	for key, o := range byHand {
		for _, part := range []string{"rules", "roleRef", "subjects"} {
			if diff := cmp.Diff(o[part], byHelm[key][part]); diff != "" {
				t.Errorf("%s of %s (-by hand +by Helm):\n%s", part, key, diff)
			}
		}
	}
	if len(byHand) < 5 {
		t.Errorf("%d objects", len(byHand))
	}
}
