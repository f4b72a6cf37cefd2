package system

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/bpf"
)

func TestProgramOf(t *testing.T) {
	dir := t.TempDir()
	if err := bpf.ExportSources(dir); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	own, err := ProgramOf(cfg)
	if err != nil || own.Compiled || len(own.Digest) != 8 {
		t.Errorf("%+v, %v", own, err)
	}
	cfg.Datapath.Sources, cfg.Datapath.Compile = dir, true
	if p, err := ProgramOf(cfg); err != nil || p != (api.ProgramStatus{Compiled: true, Sources: dir, Digest: own.Digest}) {
		t.Errorf("the binary's own sources: %+v, %v", p, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nat.h"), []byte("int x;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := ProgramOf(cfg); err != nil || !p.Changed || p.Digest == own.Digest {
		t.Errorf("changed sources: %+v, %v", p, err)
	}
}
