package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestSecretsAreNeverPrinted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("hunter22\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := mustParse(t, "datapath: {seed: hunter22}\nbgp: {asn: 64512, peers: [{address: 192.0.2.1, asn: 64513, passwordFile: "+file+"}]}")
	if got := cfg.BGP.Peers[0].Password.Reveal(); got != "hunter22" {
		t.Fatalf("password = %q", got)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%08.3f"} {
		fmt.Fprintf(&out, verb, cfg.Datapath.Seed)
		fmt.Fprintf(&out, verb, cfg)
		fmt.Fprintf(&out, verb, cfg.BGP.Peers)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "seed", cfg.Datapath.Seed, "config", cfg)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "seed", cfg.Datapath.Seed, "config", cfg)
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		b, err := marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	other := mustParse(t, "datapath: {seed: hunter23}")
	fmt.Fprintf(&out, "%+v", Diff(cfg, other))
	for _, leak := range []string{"hunter2", "68756e746572", "68756E746572", "104 117 110"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("output holds %q", leak)
		}
	}
	if !strings.Contains(out.String(), redacted) {
		t.Error("a secret shows nothing, not even that it is there")
	}
}

func TestSecretFiles(t *testing.T) {
	tests := []struct{ name, content, want, wrong string }{
		{name: "plain", content: "s3cret", want: "s3cret"},
		{name: "line", content: "s3cret\n", want: "s3cret"},
		{name: "spaces count", content: " s3cret \n", want: " s3cret "},
		{name: "empty", content: "\n", wrong: "the file is empty"},
		{name: "lines", content: "a\nb\n", wrong: "more than one line"},
		{name: "long", content: strings.Repeat("x", 81), wrong: "81 bytes long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := Parse("f", []byte("bgp: {asn: 64512, peers: [{address: 192.0.2.1, asn: 64513, passwordFile: "+file+"}]}"), nil)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) || !strings.Contains(err.Error(), "f:1: bgp.peers[0].passwordFile = ") {
					t.Errorf("error = %v", err)
				}
			} else if err != nil || cfg.BGP.Peers[0].Password.Reveal() != tt.want {
				t.Errorf("got %v, %v", cfg, err)
			}
		})
	}
}

func TestSecretFileIsRegular(t *testing.T) {
	for _, file := range []string{"/dev/zero", t.TempDir()} {
		_, err := Parse("f", []byte("datapath: {seedFile: "+file+"}"), nil)
		if err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestSeed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(file, []byte("000102030405060708090a0b0c0d0e0f\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	if got := mustParse(t, "datapath: {seedFile: "+file+"}").Datapath.SeedBytes(); got != want {
		t.Errorf("seed of file = %x", got)
	}
	if got := mustParse(t, "datapath: {seed: 000102030405060708090a0b0c0d0e0f}").Datapath.SeedBytes(); got != want {
		t.Errorf("seed = %x", got)
	}
	// SHA-256 of "abc", FIPS 180-4.
	if got := fmt.Sprintf("%x", mustParse(t, "datapath: {seed: abc}").Datapath.SeedBytes()); got != "ba7816bf8f01cfea414140de5dae2223" {
		t.Errorf("seed of a text = %s", got)
	}
	if _, err := Parse("f", []byte("datapath: {seed: abc, seedFile: "+file+"}"), nil); err == nil || !strings.Contains(err.Error(), "keep one of them") {
		t.Errorf("both: %v", err)
	}
}
