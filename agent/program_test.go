package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
