package node

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/tenure"
)

// fakeCluster says what the end of the agent means.
type fakeCluster struct {
	*world
	verdict tenure.Verdict
}

func (f fakeCluster) Run(ctx context.Context) error         { <-ctx.Done(); return nil }
func (f fakeCluster) Link() api.Link                        { return api.Link{Connected: true} }
func (f fakeCluster) Node(desired.Published)                {}
func (f fakeCluster) Tenure(context.Context) tenure.Verdict { return f.verdict }
func (f fakeCluster) TenureWarnings(needs time.Duration) []string {
	return []string{"needs " + needs.String()}
}
func (f fakeCluster) Trouble(reason, subject, message string) {
	_ = f.call("trouble(%s: %s: %s)", reason, subject, message)
}
func (f fakeCluster) Forget(context.Context) error { return f.call("forget") }

// lb has the LB node of objects say whether it leaves too.
func (w *world) lb(leaving bool) desired.Snapshot {
	s := objects()
	text, err := json.Marshal(desired.Published{Version: "test", Ready: !leaving, Leaving: leaving})
	if err != nil {
		w.t.Fatal(err)
	}
	s.Nodes[0].Annotations = map[string]string{desired.LBAnnotation: string(text)}
	return s
}

func (w *world) without() desired.Snapshot {
	s := objects()
	s.Nodes = s.Nodes[1:]
	return s
}

func TestShutdownAuto(t *testing.T) {
	leave := tenure.Verdict{Outcome: tenure.Leave, Whole: true, Why: "DaemonSet a/b is deleted"}
	auto := func(t *testing.T, w *world, v tenure.Verdict) {
		w.cluster = fakeCluster{w, v}
		w.cfg.Shutdown, w.cfg.Source.Kind = config.ShutdownAuto, config.SourceKubernetes
		w.cfg.Source.Copy = filepath.Join(t.TempDir(), "objects.json")
		w.snapshot = w.lb(false)
		w.start()
		w.is("start", "load", syncAll, "attach(eth0 auto)", "settle")
	}
	closed := []string{"tables.Close", "datapath.Close"}
	removed := append([]string{"forget", "datapath.Remove"}, closed...)
	// ends waits for the end, which is to take about that long.
	ends := func(t *testing.T, w *world, want time.Duration) {
		t.Helper()
		began := time.Now()
		if err := <-w.ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if got := time.Since(began); got < want || got > want+time.Second {
			t.Errorf("it took %s, want about %s", got, want)
		}
	}
	for _, outcome := range []tenure.Outcome{tenure.Restart, tenure.Drain} {
		run(t, string(outcome), func(t *testing.T, w *world) {
			auto(t, w, tenure.Verdict{Outcome: outcome})
			w.signal()
			ends(t, w, 0)
			w.is("end", closed...)
		})
	}
	run(t, "this node alone", func(t *testing.T, w *world) {
		auto(t, w, tenure.Verdict{Outcome: tenure.Leave})
		w.signal()
		ends(t, w, silence)
		w.is("end", removed...)
		if len(w.attached) > 0 || !strings.Contains(w.log.String(), "left for good") {
			t.Errorf("attached %v, log\n%s", w.attached, w.log)
		}
	})
	run(t, "this node alone, and packets keep coming", func(t *testing.T, w *world) {
		auto(t, w, tenure.Verdict{Outcome: tenure.Leave})
		done := make(chan struct{})
		go func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(100 * time.Millisecond):
					w.mu.Lock()
					w.delivered++
					w.mu.Unlock()
				}
			}
		}()
		w.signal()
		ends(t, w, hearing)
		close(done)
		w.is("end", removed...)
	})
	run(t, "LB nodes that stay", func(t *testing.T, w *world) {
		auto(t, w, leave)
		w.signal()
		ends(t, w, companions+silence)
		w.is("end", removed...)
	})
	run(t, "no LB node is left", func(t *testing.T, w *world) {
		auto(t, w, leave)
		w.change(w.without())
		w.is("changed", "tables.Sync(1 members, 2 pods, 1500)")
		w.signal()
		ends(t, w, 0)
		w.is("end", removed...)
	})
	run(t, "LB nodes that leave too", func(t *testing.T, w *world) {
		auto(t, w, leave)
		w.change(w.lb(true))
		w.is("changed", syncAll)
		w.signal()
		synctest.Wait()
		time.Sleep(2 * companions)
		w.is("it goes on for them")
		next := w.lb(true)
		next.Slices[0].Endpoints = next.Slices[0].Endpoints[:1]
		w.change(next)
		w.is("and follows what changes", "tables.Sync(2 members, 1 pods, 1500)")
		w.change(w.without())
		ends(t, w, 0)
		w.is("end", append([]string{"tables.Sync(1 members, 2 pods, 1500)"}, removed...)...)
	})
	run(t, "LB nodes that never come to their end", func(t *testing.T, w *world) {
		auto(t, w, leave)
		w.change(w.lb(true))
		w.is("changed", syncAll)
		w.signal()
		ends(t, w, w.cfg.DrainTimeout+lbMargin+silence)
		w.is("end", removed...)
	})
	run(t, "too little time", func(t *testing.T, w *world) {
		auto(t, w, leave)
		if s := strings.Join(w.agent.Status().Warnings, " "); !strings.Contains(s, "needs 40s") {
			t.Errorf("warnings %s", s)
		}
		w.change(w.without())
		w.stop()
	})
}
