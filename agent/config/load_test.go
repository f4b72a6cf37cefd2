package config

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
	"golang.org/x/tools/txtar"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/ipam"
)

var update = flag.Bool("update", false, "write what the tests see to testdata and README.md")

var compareConfigs = cmp.Options{
	cmpopts.EquateComparable(Config{}.BGP.RouterID),
	cmpopts.EquateEmpty(),
}

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	cfg, err := Parse("penstock.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestEmptyFileIsDefault(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Node = host
	if diff := cmp.Diff(want, mustParse(t, "# nothing\n"), compareConfigs); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultFileParsesToDefault(t *testing.T) {
	t.Log("\n" + DefaultFile())
	if diff := cmp.Diff(mustParse(t, ""), mustParse(t, DefaultFile()), compareConfigs); diff != "" {
		t.Error(diff)
	}
	for _, k := range settingKeys() {
		if f := parseFile("", []byte(DefaultFile())); f.line[k] == 0 {
			t.Errorf("%s is missing in the default file", k)
		}
	}
}

// The examples in the comments of the default file are ones that work.
func TestDefaultFileBGPExamples(t *testing.T) {
	var text strings.Builder
	text.WriteString("bgp:\n  asn: 64513\n")
	for line := range strings.Lines(DefaultFile()) {
		if strings.HasPrefix(line, "  # peers:") || strings.HasPrefix(line, "  # advertisements:") || strings.HasPrefix(line, "  #   ") {
			text.WriteString(strings.Replace(line, "# ", "", 1))
		}
	}
	cfg := mustParse(t, text.String())
	if len(cfg.BGP.Peers) != 1 || cfg.BGP.Peers[0].Name != "tor1" || cfg.BGP.Peers[0].HoldTime != 9*time.Second {
		t.Errorf("peers = %+v from\n%s", cfg.BGP.Peers, text.String())
	}
	if diff := cmp.Diff([]advertise.Entry{{Name: "edge"}}, cfg.BGP.Advertisements, compareConfigs); diff != "" {
		t.Errorf("advertisements: want -, got +\n%s\nfrom\n%s", diff, text.String())
	}
}

// So is that of the pools.
func TestDefaultFilePoolsExample(t *testing.T) {
	text := ""
	for line := range strings.Lines(DefaultFile()) {
		if strings.HasPrefix(line, "# pools:") || strings.HasPrefix(line, "#   ") {
			text += strings.Replace(line, "# ", "", 1)
		}
	}
	want := []ipam.Pool{{Name: "public", AutoAssign: true, Ranges: []ipam.Range{
		ipam.RangeOf(netip.MustParsePrefix("192.0.2.0/24")), ipam.RangeOf(netip.MustParsePrefix("2001:db8::/64")),
	}}}
	if diff := cmp.Diff(want, mustParse(t, text).Pools, compareConfigs); diff != "" {
		t.Errorf("want -, got +\n%s\nfrom\n%s", diff, text)
	}
}

func TestPools(t *testing.T) {
	cfg := mustParse(t, `
source: {kind: kubernetes}
lbNodes: "!spare, role = lb"
pools:
  - name: a
    addresses: [192.0.2.10 - 192.0.2.20, 198.51.100.7, "2001:db8::/64"]
    priority: -7
    autoAssign: false
    avoidBuggyIPs: true
    namespaces: [web]
    namespaceSelector: team in (red,blue)
    serviceSelector: "!internal"
`)
	p := cfg.Pools[0]
	claim := func(ns, team, label string) ipam.Claim {
		return ipam.Claim{Namespace: ns, NamespaceLabels: map[string]string{"team": team}, Labels: map[string]string{label: ""}}
	}
	for _, tt := range []struct {
		ns, team, label string
		want            bool
	}{
		{"web", "red", "", true}, {"web", "blue", "external", true},
		{"api", "red", "", false}, {"web", "green", "", false}, {"web", "red", "internal", false},
	} {
		if got := ipam.Admits(p, claim(tt.ns, tt.team, tt.label)); got != tt.want {
			t.Errorf("Admits %+v = %v", tt, got)
		}
	}
	for text, want := range map[string]bool{
		"192.0.2.9": false, "192.0.2.10": true, "192.0.2.20": true, "192.0.2.21": false, "198.51.100.7": true,
		"2001:db8::": true, "2001:db8::ffff:ffff:ffff:ffff": true, "2001:db8:0:1::": false, "::ffff:192.0.2.10": false,
	} {
		if got := p.Contains(netip.MustParseAddr(text)); got != want {
			t.Errorf("Contains %s = %v", text, got)
		}
	}
	if p.Priority != -7 || p.AutoAssign || !p.AvoidBuggyIPs || cfg.LBNodes != "role=lb,!spare" || cfg.Source.Namespace != "penstock-system" {
		t.Errorf("%+v, %+v, lbNodes %q", p, cfg.Source, cfg.LBNodes)
	}
	if got := (rangesValue{&p.Ranges}).String(); got != "192.0.2.10-192.0.2.20,198.51.100.7/32,2001:db8::/64" {
		t.Errorf("ranges %s", got)
	}
}

func TestPrecedence(t *testing.T) {
	file := "datapath: {bpffs: /file, clang: file, mode: native}\nnat: {timeouts: {udp: 5s}}\n"
	t.Setenv("PENSTOCK_DATAPATH_BPFFS", "/environment")
	t.Setenv("PENSTOCK_DATAPATH_CLANG", "environment")
	t.Setenv("PENSTOCK_DATAPATH_INTERFACES", "eth0, eth1")
	t.Setenv("PENSTOCK_LOG_LEVEL", "") // as good as unset
	t.Setenv("PENSTOCK_NAT", "a variable named like a section")
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddFlags(fs)
	if err := fs.Parse([]string{"--datapath-bpffs=/flag", "--compile", "--datapath-icmp-rate=7", "--metrics-address="}); err != nil {
		t.Fatal(err)
	}
	got, err := Parse("f", []byte(file), fs)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Node = got.Node
	want.Datapath.BPFFS, want.Datapath.Clang, want.Datapath.Mode = "/flag", "environment", "native"
	want.Datapath.Compile, want.Datapath.ICMPRate = true, 7
	want.Datapath.Interfaces = []string{"eth0", "eth1"}
	want.NAT.Timeouts.UDP = 5 * time.Second
	want.Metrics.Address = ""
	if diff := cmp.Diff(want, got, compareConfigs); diff != "" {
		t.Error(diff)
	}
}

// Each file in testdata/errors.txtar is a configuration; the file of the same
// name with the ending .want holds the whole error.
func TestErrors(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/errors.txtar")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range archive.Files {
		want[f.Name] = string(f.Data)
	}
	var updated []txtar.File
	for _, f := range archive.Files {
		if strings.HasSuffix(f.Name, ".want") {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			_, err := Parse(f.Name, f.Data, nil)
			got := ""
			if err != nil {
				got = err.Error() + "\n"
			}
			updated = append(updated, f, txtar.File{Name: f.Name + ".want", Data: []byte(got)})
			if diff := cmp.Diff(want[f.Name+".want"], got); diff != "" && !*update {
				t.Errorf("error (-want +got):\n%s\nin full:\n%s", diff, got)
			}
		})
	}
	if *update {
		archive.Files = updated
		if err := os.WriteFile("testdata/errors.txtar", txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestErrorsNameTheirSource(t *testing.T) {
	t.Setenv("PENSTOCK_NAT_PORTS", "9-1")
	t.Setenv("PENSTOCK_DATAPATH_BPFS", "/x")
	t.Setenv("PENSTOCK_BGP_PEERS", "tor1")
	t.Setenv("PENSTOCK_POOLS", "a")
	t.Setenv("PENSTOCK_SERVICE_HOST", "10.0.0.1") // Kubernetes sets it for a Service called penstock
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddFlags(fs)
	if err := fs.Parse([]string{"--datapath-rows=1000"}); err != nil {
		t.Fatal(err)
	}
	_, err := Parse("f.yaml", []byte("node: a b\n"), fs)
	const want = `environment PENSTOCK_BGP_PEERS: peers can be set in the file only; remove the variable
environment PENSTOCK_DATAPATH_BPFS: unknown variable (did you mean PENSTOCK_DATAPATH_BPFFS?)
environment PENSTOCK_POOLS: pools can be set in the file only; remove the variable
environment PENSTOCK_NAT_PORTS: nat.ports = "9-1": write a range of ports within 1-65535, as in 1024-29999
flag --datapath-rows: datapath.rows = "1000": write a power of two, as in 16384
f.yaml:1: node = "a b": write the name of a Node object, at most 253 letters, digits, dots and dashes`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		t.Error("the error does not hold an *Error")
	}
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yaml")
	_, err := Load(path, nil)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("Load = %v", err)
	}
}
