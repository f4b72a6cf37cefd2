package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
	"golang.org/x/tools/txtar"
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

// The example in the comments of the default file is one that works.
func TestDefaultFilePeersExample(t *testing.T) {
	var text strings.Builder
	text.WriteString("bgp:\n  asn: 64513\n")
	for line := range strings.Lines(DefaultFile()) {
		if strings.HasPrefix(line, "  # peers:") || strings.HasPrefix(line, "  #   ") {
			text.WriteString(strings.Replace(line, "# ", "", 1))
		}
	}
	cfg := mustParse(t, text.String())
	if len(cfg.BGP.Peers) != 1 || cfg.BGP.Peers[0].Name != "tor1" || cfg.BGP.Peers[0].HoldTime != 9*time.Second {
		t.Errorf("peers = %+v from\n%s", cfg.BGP.Peers, text.String())
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
	t.Setenv("PENSTOCK_SERVICE_HOST", "10.0.0.1") // Kubernetes sets it for a Service called penstock
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddFlags(fs)
	if err := fs.Parse([]string{"--datapath-rows=1000"}); err != nil {
		t.Fatal(err)
	}
	_, err := Parse("f.yaml", []byte("node: a b\n"), fs)
	const want = `environment PENSTOCK_BGP_PEERS: peers can be set in the file only; remove the variable
environment PENSTOCK_DATAPATH_BPFS: unknown variable (did you mean PENSTOCK_DATAPATH_BPFFS?)
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
