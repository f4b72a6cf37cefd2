package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// still is a Source whose feeds a test feeds, in a time of its own.
type still struct {
	*Source
	t *testing.T

	mu   sync.Mutex
	gets []string // pods that were asked for
}

// newStill runs one, but for its feeds. get answers reads of pods.
func newStill(t *testing.T, role string, get func(ctx context.Context, name string) (*corev1.Pod, error)) *still {
	client, err := connect(Options{Role: role, Node: "node1"}, &rest.Config{Host: "https://192.0.2.1"}, slog.New(slog.DiscardHandler))
	must(t, err)
	s := &still{Source: NewSource(client, slog.New(slog.NewTextHandler(t.Output(), nil))), t: t}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	if s.reader != nil {
		s.reader.get = func(ctx context.Context, _, name string) (*corev1.Pod, error) {
			s.mu.Lock()
			s.gets = append(s.gets, name)
			s.mu.Unlock()
			return get(ctx, name)
		}
		s.reader.open()
		wg.Go(func() { s.reader.run(ctx) })
	}
	wg.Go(func() { s.tell(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s
}

// asked gives the pods that were asked for since it was last called.
func (s *still) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.gets
	s.gets = nil
	return out
}

// list gives each feed its first list.
func (s *still) list(objects map[string][]any) {
	for _, f := range s.feeds {
		must(s.t, f.Replace(objects[f.kind], "1"))
	}
}

// waits says how long it is to the next word on Changed.
func (s *still) waits() time.Duration {
	start := time.Now()
	<-s.Changed()
	return time.Since(start)
}

// pod makes a slice with endpoints of pods, and gives it to its feed.
func (s *still) pods(slice string, names ...string) *discoveryv1.EndpointSlice {
	out := sliceOf("a", "web", slice)
	for i, name := range names {
		ep := sliceOf("", "", "", fmt.Sprintf("10.0.0.%d", i+1)).Endpoints[0]
		ep.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "a", Name: name}
		out.Endpoints = append(out.Endpoints, ep)
	}
	return out
}

func present(_ context.Context, name string) (*corev1.Pod, error) {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}}, nil
}

// TestBurst checks that a burst of events is one word, which comes soon.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStill(t, roleBackend, nil)
		if _, synced := s.Delta(); synced {
			t.Error("synced before anything was listed")
		}
		s.list(nil)
		if took := s.waits(); took != quiet {
			t.Errorf("the first word came after %v", took)
		}
		s.Delta()
		event := func(i int) {
			must(t, s.feeds[1].Update(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1", Labels: map[string]string{"i": fmt.Sprint(i)}}}))
		}
		event(0)
		if took := s.waits(); took != quiet {
			t.Errorf("one event was told of after %v", took)
		}
		s.Delta()
		start := time.Now()
		go func() {
			for i := range 100 { // one each 10 ms is never quiet
				event(i + 1)
				time.Sleep(10 * time.Millisecond)
			}
		}()
		for i := range 4 {
			<-s.Changed()
			s.Delta()
			if at, latest := time.Since(start), time.Duration(i+1)*(limit+quiet); at > latest {
				t.Errorf("word %d of a long burst came after %v", i, at)
			}
		}
		if at := time.Since(start); at < 4*limit {
			t.Errorf("4 words of a long burst came within %v", at)
		}
		time.Sleep(2 * time.Second)
		<-s.Changed()
		s.Delta()
		event(100) // as it is
		time.Sleep(time.Minute)
		select {
		case <-s.Changed():
			t.Error("there is word of an event that changed nothing")
		default:
		}
	})
}

// TestPodsOfAChange checks that a change and its pods are one word, unless those take long.
func TestPodsOfAChange(t *testing.T) {
	for _, c := range []struct {
		read, word time.Duration
		pods       int
	}{{0, quiet, 1}, {100 * time.Millisecond, 100*time.Millisecond + quiet, 1}, {time.Second, limit, 0}} {
		synctest.Test(t, func(t *testing.T) {
			s := newStill(t, roleLB, func(ctx context.Context, name string) (*corev1.Pod, error) {
				time.Sleep(c.read)
				return present(ctx, name)
			})
			s.list(map[string][]any{"Service": {serviceOf("a", "web")}})
			s.waits()
			s.Delta()
			must(t, s.feeds[0].Add(s.pods("s", "p")))
			if took := s.waits(); took != c.word {
				t.Errorf("reads take %v: word after %v, want %v", c.read, took, c.word)
			}
			if d, _ := s.Delta(); len(d.Bundles["a/web"].Pods) != c.pods {
				t.Errorf("reads take %v: %d pods in the first word", c.read, len(d.Bundles["a/web"].Pods))
			}
			if c.pods == 0 {
				s.waits()
				if d, _ := s.Delta(); len(d.Bundles["a/web"].Pods) != 1 {
					t.Errorf("reads take %v: the pod never came", c.read)
				}
			}
		})
	}
}

// TestFirstSync checks that pods put the first sync off, and for how long.
func TestFirstSync(t *testing.T) {
	for _, c := range []struct {
		read, sync time.Duration
	}{{100 * time.Millisecond, 100*time.Millisecond + quiet}, {time.Hour, podsWait + quiet}} {
		synctest.Test(t, func(t *testing.T) {
			s := newStill(t, roleLB, func(ctx context.Context, name string) (*corev1.Pod, error) {
				time.Sleep(c.read) // whatever ctx says
				return present(ctx, name)
			})
			s.list(map[string][]any{"Service": {serviceOf("a", "web")}, "EndpointSlice": {s.pods("s", "p")}})
			if took := s.waits(); took != c.sync {
				t.Errorf("reads take %v: synced after %v, want %v", c.read, took, c.sync)
			}
			if d, synced := s.Delta(); !synced || !d.Reset || len(d.Bundles) != 1 {
				t.Errorf("reads take %v: %v %+v", c.read, synced, d)
			}
		})
	}
}

// TestReads checks which pods are read first, and how often those that can't be.
func TestReads(t *testing.T) {
	t.Run("order", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gate := make(chan struct{})
			s := newStill(t, roleLB, func(ctx context.Context, name string) (*corev1.Pod, error) {
				<-gate
				return present(ctx, name)
			})
			var old []string
			for i := range 2 * podReaders {
				old = append(old, fmt.Sprintf("old%02d", i))
			}
			s.list(map[string][]any{"Service": {serviceOf("a", "web")}, "EndpointSlice": {s.pods("s", old...)}})
			s.waits() // not longer than podsWait
			must(t, s.feeds[0].Add(s.pods("t", "new")))
			synctest.Wait()
			close(gate)
			time.Sleep(time.Second)
			got := s.asked()
			if at := slices.Index(got, "new"); at != podReaders {
				t.Errorf("a pod of a change was read as number %d of %v", at, got)
			}
		})
	})
	t.Run("touched", func(t *testing.T) {
		l := &lanes{first: func() bool { return false }, again: map[string]bool{}}
		for _, key := range []string{"a", "b", "c", "d"} {
			l.Push(key)
		}
		l.first = func() bool { return true }
		l.Touch("c")
		l.mark("b", true)
		l.Touch("b")
		l.Push("e")
		var got []string
		for l.Len() > 0 {
			got = append(got, l.Pop())
		}
		if want := []string{"c", "e", "a", "b", "d"}; !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
	})
	t.Run("again", func(t *testing.T) {
		for what, err := range map[string]error{
			"gone":   apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "p"),
			"failed": errors.New("no route to host"),
		} {
			synctest.Test(t, func(t *testing.T) {
				var there atomic.Bool
				s := newStill(t, roleLB, func(ctx context.Context, name string) (*corev1.Pod, error) {
					if !there.Load() {
						return nil, err
					}
					return present(ctx, name)
				})
				s.list(map[string][]any{"Service": {serviceOf("a", "web")}, "EndpointSlice": {s.pods("s", "p")}})
				if took := s.waits(); took != quiet {
					t.Errorf("%s: a pod that can't be read put the first sync off by %v", what, took)
				}
				s.Delta()
				time.Sleep(20 * time.Second)
				if n := len(s.asked()); n != 5 { // at 0, 1, 3, 7 and 15 s
					t.Errorf("%s: %d reads within 20 s", what, n)
				}
				time.Sleep(10 * time.Minute)
				if n, lost := len(s.asked()), what == "gone"; lost && n != 1 || !lost && (n < 9 || n > 15) {
					t.Errorf("%s: another %d reads within 10 minutes", what, n)
				}
				there.Store(true)
				if what == "gone" {
					news := s.pods("s", "p")
					news.Endpoints[0].Conditions.Ready = new(false)
					must(t, s.feeds[0].Update(news))
				}
				for d, _ := s.Delta(); len(d.Bundles["a/web"].Pods) == 0; d, _ = s.Delta() {
					if took := s.waits(); took > podRetryMax+quiet {
						t.Errorf("%s: it was found after %v", what, took)
					}
				}
				there.Store(false)
				s.asked()
				must(t, s.feeds[0].Delete(s.pods("s")))
				time.Sleep(10 * time.Minute)
				if got := s.asked(); len(got) > 2 { // when its endpoint vanished, and once more while that was held
					t.Errorf("%s: read for ever: %v", what, got)
				}
			})
		}
	})
}

// TestHoldEnds checks that the end of a hold is told of.
func TestHoldEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStill(t, roleLB, present)
		s.list(map[string][]any{"Service": {serviceOf("a", "web")}, "EndpointSlice": {sliceOf("a", "web", "s", "10.0.0.1")}})
		s.waits()
		s.Delta()
		must(t, s.feeds[0].Delete(sliceOf("a", "web", "s")))
		s.waits()
		if d, _ := s.Delta(); len(d.Bundles["a/web"].Slices) != 1 {
			t.Errorf("it is not held: %+v", d)
		}
		if took := s.waits(); took != 2*time.Second {
			t.Errorf("the hold ended after another %v", took)
		}
		if d, _ := s.Delta(); len(d.Bundles["a/web"].Slices) != 0 {
			t.Errorf("it is held for ever: %+v", d)
		}
	})
}
