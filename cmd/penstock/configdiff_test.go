package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/agent/config"
)

// configured is a node whose agent says what it works with.
type configured struct {
	*site
	running string
}

func (c configured) InForce() config.Dump {
	cfg, err := config.Parse("running", []byte(c.running), nil)
	if err != nil {
		panic(err)
	}
	return config.InForce(cfg, cfg)
}

func TestConfigDiff(t *testing.T) {
	const running = `node: lb1
datapath: {seed: hidden}
bgp:
  asn: 64512
  peers:
  - {name: same, address: 192.0.2.1, asn: 64513}
  - {name: edited, address: 192.0.2.2, asn: 64513, maxPrefixes: 5}
  - {name: gone, address: "2001:db8::3", asn: 64513}
  - {name: gw, gateway: ipv4, asn: 64513}
  advertisements:
  - {name: few, peers: [same], med: 10}
  - {name: past, serviceSelector: tier=past}
  - {name: rest, aggregateLength4: 24, aggregateLength6: 64}
`
	edits := strings.NewReplacer("seed: hidden", "seed: another, rows: 32768", "maxPrefixes: 5", "maxPrefixes: 9, bfd: true, holdTime: 30s, nodes: [lb1], passive: true",
		"name: gone", "name: new", "gateway: ipv4", "gateway: ipv6", "med: 10", "med: 20", "name: past", "name: future", "node: lb1", "node: lb1\nlog: {level: debug}")
	for name, tt := range map[string]struct {
		text string
		args []string
		code int
	}{
		"config-diff":        {edits.Replace(running), nil, exitOK},
		"config-diff-json":   {edits.Replace(running), []string{"-o", "json"}, exitOK},
		"config-diff-none":   {running, nil, exitOK},
		"config-diff-broken": {"natt: {}", nil, exitError},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "new.yaml")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			code, stdout, stderr := callAgent(t, configured{testNode(), running}, append([]string{"config", "diff", file}, tt.args...)...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			golden(t, name, strings.ReplaceAll(stdout+"--- stderr\n"+stderr, file, "FILE"))
		})
	}
	file := filepath.Join(t.TempDir(), "new.yaml")
	if err := os.WriteFile(file, []byte(running), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t, testNode(), true, "config", "diff", file); code != exitError || !strings.Contains(stderr, "compare the files") {
		t.Errorf("an agent that does not tell: %d, %q", code, stderr)
	}
}
