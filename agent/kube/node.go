package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/penstock-lb/penstock/agent/desired"
)

// republish is how often what a Node says is written again although it has not changed: a
// Node object that was deleted and made anew has lost it. The API server stores nothing
// where nothing changes.
const republish = 30 * time.Second

// annotator keeps one annotation of this agent's own Node. It patches that alone, blindly:
// it needs no right to read, and disturbs nobody who edits the Node at the same time.
type annotator struct {
	set        kubernetes.Interface
	node       string
	annotation string
	log        *slog.Logger
	changed    chan struct{}

	writing sync.Mutex // one write at a time: none may come after the last

	mu   sync.Mutex
	want *desired.Published // nil: not known yet
	text string             // as last written
	over bool               // nothing is to be said any more
}

func newAnnotator(set kubernetes.Interface, node, role string, log *slog.Logger) *annotator {
	a := &annotator{set: set, node: node, annotation: desired.LBAnnotation, log: log, changed: make(chan struct{}, 1)}
	if role == roleBackend {
		a.annotation = desired.BackendAnnotation
	}
	return a
}

func (a *annotator) publish(p desired.Published) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	a.want = &p
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// run writes what changes until ctx ends, and tries again what fails.
func (a *annotator) run(ctx context.Context) {
	again := time.NewTicker(republish)
	defer again.Stop()
	for {
		force := false
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
		case <-again.C:
			force = true
		}
		told := false
		for wait := 100 * time.Millisecond; ; wait = min(2*wait, 30*time.Second) {
			err := a.write(ctx, force)
			if err == nil || ctx.Err() != nil {
				break
			}
			if !told {
				a.log.Warn("this agent can't say on its Node what it is; it is tried again", "node", a.node, "err", err)
			}
			told = true
			sleep(ctx, jitter(wait))
		}
		if told && ctx.Err() == nil {
			a.log.Info("this agent has said on its Node what it is", "node", a.node)
		}
	}
}

// write patches the newest content, if it is not what was written last.
func (a *annotator) write(ctx context.Context, force bool) error {
	a.writing.Lock()
	defer a.writing.Unlock()
	a.mu.Lock()
	want, last := a.want, a.text
	a.mu.Unlock()
	if want == nil {
		return nil
	}
	content, err := json.Marshal(want)
	if err != nil {
		return fmt.Errorf("encode annotation %s: %w", a.annotation, err)
	}
	text := string(content)
	if text == last && !force {
		return nil
	}
	if err := a.patch(ctx, &text); err != nil {
		return err
	}
	a.mu.Lock()
	a.text = text
	a.mu.Unlock()
	return nil
}

// forget removes the annotation, and lets nothing write it again. Where the Node is gone, so is
// the annotation.
func (a *annotator) forget(ctx context.Context) error {
	a.mu.Lock()
	a.want, a.over = nil, true
	a.mu.Unlock()
	a.writing.Lock()
	defer a.writing.Unlock()
	if err := a.patch(ctx, nil); !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// patch sets the annotation, or with nil removes it.
func (a *annotator) patch(ctx context.Context, text *string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]*string{a.annotation: text}}})
	if err != nil {
		return fmt.Errorf("encode patch of node %s: %w", a.node, err)
	}
	_, err = a.set.CoreV1().Nodes().Patch(ctx, a.node, types.MergePatchType, body, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("write annotation %s of node %s: %w", a.annotation, a.node, err)
	}
	return nil
}

// Node publishes what this agent is on its Node.
func (r *Reporter) Node(p desired.Published) { r.own.publish(p) }

// Forget takes what this agent said of itself from its Node, for good.
func (r *Reporter) Forget(ctx context.Context) error { return r.own.forget(ctx) }
