package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/bpf"
)

func TestProgramOf(t *testing.T) {
	dir := t.TempDir()
	if err := bpf.ExportSources(dir); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig()
	own, err := programOf(cfg)
	if err != nil || own.Compiled || len(own.Digest) != 8 {
		t.Errorf("%+v, %v", own, err)
	}
	cfg.Datapath.Sources, cfg.Datapath.Compile = dir, true
	if p, err := programOf(cfg); err != nil || p != (api.ProgramStatus{Compiled: true, Sources: dir, Digest: own.Digest}) {
		t.Errorf("the binary's own sources: %+v, %v", p, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nat.h"), []byte("int x;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := programOf(cfg); err != nil || !p.Changed || p.Digest == own.Digest {
		t.Errorf("changed sources: %+v, %v", p, err)
	}
}

func TestCompiledProgramIsLogged(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lb.bpf.c"), []byte("int x;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "compiled", func(t *testing.T, l *lab) {
		l.cfg.Datapath.Sources, l.cfg.Datapath.Compile = dir, true
		l.start()
		p := l.agent.Status().Datapath.Program
		if !p.Compiled || p.Sources != dir || p.Digest == "" {
			t.Errorf("program %+v", p)
		}
		if log := l.logged(); !strings.Contains(log, "compiled") || !strings.Contains(log, dir) || !strings.Contains(log, p.Digest) {
			t.Errorf("logged\n%s", log)
		}
		l.stop()
	})
}
