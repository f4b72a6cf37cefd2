package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// lives is what is known of the ends of pods, by their names.
type lives struct {
	mu     sync.Mutex
	nodes  map[string]string    // of pods
	ends   map[string]time.Time // since when pods are asked to end
	killed map[string]bool      // nodes
	seen   string               // the newest value of mark
}

// mark is an annotation by which a test sees how far lives has followed.
const mark = "penstock.test/mark"

func newLives() *lives {
	return &lives{nodes: map[string]string{}, ends: map[string]time.Time{}, killed: map[string]bool{}}
}

// watchPods follows all pods until ctx ends. After the API server was away it takes client-go up to
// a minute to ask again, for which a second one need not wait.
func (s *Site) watchPods(ctx context.Context, l *lives) {
	f := informers.NewSharedInformerFactory(s.API.Client, 0)
	_, _ = f.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { l.note(o.(*corev1.Pod), false) },
		UpdateFunc: func(_, o any) { l.note(o.(*corev1.Pod), false) },
		DeleteFunc: func(o any) {
			if p, ok := o.(*corev1.Pod); ok {
				l.note(p, true)
			}
		},
	})
	f.Start(ctx.Done())
	f.WaitForCacheSync(ctx.Done())
}

func (l *lives) note(p *corev1.Pod, gone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes[p.Name] = p.Spec.NodeName
	l.seen = max(l.seen, p.Annotations[mark])
	if _, known := l.ends[p.Name]; !known && (gone || p.DeletionTimestamp != nil) {
		l.ends[p.Name] = time.Now()
	}
}

// kill notes that a node was killed, and all pods with it, or is back.
func (l *lives) kill(node string, killed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.killed[node] = killed
}

// catchUp waits until l knows all that is true now.
func (s *Site) catchUp(l *lives) {
	s.tb.Helper()
	value := time.Now().UTC().Format(time.RFC3339Nano)
	s.API.Kubectl(s.tb, "", "-n", "ingress", "annotate", "pods", "-l", "app=traefik", mark+"="+value, "--overwrite")
	s.Wait("the watch of pods", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.seen < value {
			return fmt.Errorf("it has come to %s, not %s", l.seen, value)
		}
		return nil
	})
}

// ending tells why a pod may end its connections now, if it may: it has been ending for as long as
// grace, give or take slack, or its node was killed.
func (l *lives) ending(pod string, grace, slack time.Duration) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.ends[pod]; ok && time.Since(at) > grace-slack {
		return "the pod ends"
	}
	if l.killed[l.nodes[pod]] {
		return "the pod's node was killed"
	}
	return ""
}
