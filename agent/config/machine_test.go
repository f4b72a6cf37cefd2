package config

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMisfits(t *testing.T) {
	files := map[string]string{
		"/proc/sys/net/ipv4/ip_local_port_range":     "32768\t60999\n",
		"/proc/sys/net/ipv4/ip_local_reserved_ports": "\n",
	}
	m := machine{
		read: func(path string) ([]byte, error) {
			if text, ok := files[path]; ok {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		},
		program: func(name string) (string, error) {
			if name == "clang-19" {
				return "/usr/bin/clang-19", nil
			}
			return "", os.ErrNotExist
		},
		device: func(name string) (*net.Interface, error) {
			if name == "eth0" {
				return &net.Interface{}, nil
			}
			return nil, os.ErrNotExist
		},
	}
	inspect := func(text string) []string {
		t.Helper()
		cfg, l, err := parse("f.yaml", []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return l.notes(append(cfg.warnings(), cfg.misfits(m)...))
	}
	const fits = "datapath: {seed: x, compile: true, clang: clang-19, interfaces: [eth0]}\n" +
		"vips: [192.0.2.0/24]\nbgp: {asn: 64512, peers: [{address: 192.0.2.1, asn: 64513}]}\n"
	if got := inspect(fits); len(got) != 0 {
		t.Errorf("what fits: %q", got)
	}
	if got := inspect("role: backend\nnat: {ports: 1024-40000}\n"); len(got) != 0 {
		t.Errorf("an ingress node: %q", got)
	}
	want := []string{
		"f.yaml: vips is not set",
		"f.yaml: bgp.peers is empty",
		"f.yaml:1: nat.ports: the agent would not start on this machine: nat.ports 1024-40000 holds port 32768",
		"f.yaml:3: datapath.interfaces: this machine has no eth1",
		"f.yaml:5: datapath.clang: this machine has no clang",
		"f.yaml:6: datapath.seed is not set",
	}
	got := inspect("nat: {ports: 1024-40000}\ndatapath:\n  interfaces: [eth0, eth1]\n  compile: true\n  clang: clang\n  seed: ''\n")
	for i := range min(len(got), len(want)) {
		if strings.HasPrefix(got[i], want[i]) {
			got[i] = want[i]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	delete(files, "/proc/sys/net/ipv4/ip_local_reserved_ports")
	if got := inspect(fits); len(got) != 1 || !strings.Contains(got[0], "read sysctl") {
		t.Errorf("a sysctl that cannot be read: %q", got)
	}
}
