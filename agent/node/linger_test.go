package node

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/config"
)

func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const d = 25 * time.Second
		edge, err := config.ParseSelector("role=lb")
		if err != nil {
			t.Fatal(err)
		}
		other, err := config.ParseSelector("role=edge")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		nodes := func(roles map[string]string) (all []*corev1.Node) {
			for name, role := range roles {
				all = append(all, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"role": role}}})
			}
			return all
		}
		var l linger
		are := func(what string, next time.Duration, want ...string) {
			t.Helper()
			got := l.names(time.Now(), d)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: -want +got\n%s", what, diff)
			}
			if want := start.Add(next); len(got) > 0 && !l.until.Equal(want) {
				t.Errorf("%s: until %s, want %s", what, l.until.Sub(start), next)
			}
		}
		l.update(nodes(map[string]string{"lb1": "lb", "lb2": "lb", "in1": "worker"}), edge, time.Now())
		are("all chosen", 0)
		l.update(nodes(map[string]string{"lb1": "lb", "lb2": "", "in1": "worker"}), edge, time.Now())
		are("one lost its label", d, "lb2")
		time.Sleep(10 * time.Second)
		l.update(nodes(map[string]string{"lb1": "lb", "lb2": "", "in1": "worker"}), edge, time.Now())
		are("and still", d, "lb2")
		l.update(nodes(map[string]string{"lb1": "lb", "lb2": ""}), other, time.Now())
		are("another selector", d, "lb1", "lb2")
		time.Sleep(16 * time.Second)
		are("the first is over", 35*time.Second, "lb1")
		l.update(nodes(map[string]string{"lb1": "edge"}), other, time.Now())
		are("chosen again", 0)
		l.update(nil, other, time.Now())
		l.update(nodes(map[string]string{"lb1": ""}), other, time.Now())
		are("a new node of that name", 0)
	})
}

// TestLBNodeThatIsNoneAnyMore: an LB node drains when it loses its label, and what it sends meanwhile
// are clients' packets like all before.
func TestLBNodeThatIsNoneAnyMore(t *testing.T) {
	run(t, "label lost", func(t *testing.T, w *world) {
		w.cfg.LBNodes = "role=lb"
		w.cfg.DrainTimeout = 3*time.Second + time.Millisecond // when nothing else has a pass made
		labelled := objects()
		labelled.Nodes[0].Labels = map[string]string{"role": "lb"}
		w.snapshot = labelled
		w.start()
		w.is("start", "load", syncAll, "attach(eth0 auto)", "settle")
		w.change(objects())
		w.is("label lost", syncAll)
		if got := w.lastWant().Members; len(got) != 2 {
			t.Errorf("members %v", got)
		}
		time.Sleep(w.cfg.DrainTimeout + lbMargin + time.Millisecond)
		synctest.Wait()
		if got := w.lastWant().Members; len(got) != 1 {
			t.Errorf("members %v after the time to drain", got)
		}
		w.stop()
	})
	run(t, "never had it", func(t *testing.T, w *world) {
		w.cfg.LBNodes = "role=lb"
		w.start()
		if got := w.lastWant().Members; len(got) != 1 {
			t.Errorf("members %v", got)
		}
		w.stop()
	})
}
