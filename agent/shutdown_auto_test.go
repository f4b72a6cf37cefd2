package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/kube"
	"github.com/penstock-lb/penstock/agent/tenure"
)

// auto makes the agent one of a DaemonSet, and what the end of its pod means.
func (l *lab) auto(v tenure.Verdict) *fakeCluster {
	c := &fakeCluster{told: map[string]kube.ServiceReport{}, verdict: v, left: make(chan string, 1)}
	l.cluster = c
	l.cfg.Shutdown = config.ShutdownAuto
	l.cfg.Source.Copy = filepath.Join(filepath.Dir(l.cfg.Source.History), "objects.json")
	return c
}

func TestShutdownAuto(t *testing.T) {
	closed := []string{"history.Close", "tables.Close", "datapath.Close"}
	drained := []string{syncWeb, "speaker.Sync(192.0.2.1~)", syncWeb, "speaker.Sync()", "speaker.Stop(drain)"}
	run(t, "another pod follows", func(t *testing.T, l *lab) {
		c := l.auto(tenure.Verdict{Outcome: tenure.Restart, Why: "wanted"})
		l.start()
		l.took()
		l.stop()
		l.is("end", append([]string{"speaker.Stop(restart)"}, closed...)...)
		if len(l.announced()) != 1 || len(l.attached) != 1 || len(c.left) > 0 {
			t.Errorf("routers know %v, attached %v, forgotten %d", l.announced(), l.attached, len(c.left))
		}
	})
	run(t, "the node ends", func(t *testing.T, l *lab) {
		c := l.auto(tenure.Verdict{Outcome: tenure.Drain, Why: "not ready"})
		l.start()
		l.took()
		l.stop()
		l.is("end", append(slices.Clone(drained), closed...)...)
		if len(l.announced()) != 0 || len(l.attached) != 1 || len(c.left) > 0 {
			t.Errorf("routers know %v, attached %v, forgotten %d", l.announced(), l.attached, len(c.left))
		}
	})
	run(t, "for good", func(t *testing.T, l *lab) {
		c := l.auto(tenure.Verdict{Outcome: tenure.Leave, Why: "DaemonSet a/b is deleted"})
		files := []string{l.cfg.Source.History, l.cfg.Source.Copy}
		for _, f := range files {
			if err := os.WriteFile(f, []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l.start()
		l.took()
		l.stop()
		l.is("end", append(append(slices.Clone(drained), "datapath.Remove"), closed...)...)
		if len(l.announced()) != 0 || len(l.attached) != 0 {
			t.Errorf("routers know %v, attached %v", l.announced(), l.attached)
		}
		if v, ok := l.sysctls["net/ipv4/conf/eth0/accept_local"]; ok {
			t.Errorf("accept_local of eth0 is still %s", v)
		}
		if got := <-c.left; got != "ready false, leaving true" {
			t.Errorf("ingress nodes knew until the end: %s", got)
		}
		for _, f := range append(files, l.cfg.DrainFile()) {
			if _, err := os.Stat(f); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", f, err)
			}
		}
		if log := l.logged(); !strings.Contains(log, "DaemonSet a/b is deleted") || !strings.Contains(log, "left for good") {
			t.Errorf("logged\n%s", log)
		}
	})
	run(t, "for good, and what is pinned does not go", func(t *testing.T, l *lab) {
		c := l.auto(tenure.Verdict{Outcome: tenure.Leave})
		l.start()
		l.failing("datapath.Remove")
		l.signal()
		if err := <-l.ended; !errors.Is(err, errInjected) {
			t.Errorf("Run: %v", err)
		}
		if len(c.left) == 0 {
			t.Error("its Node says that it is an LB node")
		}
	})
	run(t, "without a cluster", func(t *testing.T, l *lab) {
		l.cfg.Shutdown = config.ShutdownAuto
		l.start()
		l.took()
		l.stop()
		l.is("end", append([]string{"speaker.Stop(restart)"}, closed...)...)
	})
	run(t, "too little time", func(t *testing.T, l *lab) {
		l.auto(tenure.Verdict{Outcome: tenure.Restart})
		l.start()
		if w := strings.Join(l.agent.Status().Warnings, " "); !strings.Contains(w, "needs 25s") {
			t.Errorf("warnings %s", w)
		}
		l.stop()
	})
}
