package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/penstock-lb/penstock/agent/tenure"
)

const (
	// askTime bounds the last look at the DaemonSet when the agent is told to end.
	askTime = 2 * time.Second
	// newsTime is what a change of the Node has to arrive here, of which a kubelet or the
	// DaemonSet's controller has heard already and ended the pod for.
	newsTime = time.Second
)

// Owner follows the DaemonSet that this agent's pod is of, from the start on: when the pod is
// told to end, the API server or the right to ask it may be gone a moment later. It is the
// store of its own reflector.
type Owner struct {
	client          kubernetes.Interface
	namespace, name string
	source          *Source // has the Node
	log             *slog.Logger

	mu      sync.Mutex
	set     *appsv1.DaemonSet // nil: not there
	seen    bool              // it was there
	listed  bool              // the API server has answered
	problem string            // why it can't be read
}

// NewOwner makes an Owner of the DaemonSet of a name, in the namespace of the agents.
func NewOwner(c *Client, source *Source, name string, log *slog.Logger) *Owner {
	return &Owner{client: c.reads, namespace: c.Options.Namespace, name: name, source: source, log: log}
}

// Run follows it until ctx ends.
func (o *Owner) Run(ctx context.Context) error {
	logger := klog.Logger{} // what client-go would log of its own is no news
	ctx = klog.NewContext(ctx, logger)
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, o.name).String()
	sets := o.client.AppsV1().DaemonSets(o.namespace)
	requests := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.FieldSelector = only
			out, err := sets.List(ctx, opts)
			o.note(err)
			return out, err
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.FieldSelector = only
			w, err := sets.Watch(ctx, opts)
			o.note(err)
			return w, streamError(opts, err)
		},
	}
	backoff := wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 30 * time.Second}
	r := cache.NewReflectorWithOptions(requests, &appsv1.DaemonSet{}, o,
		cache.ReflectorOptions{Name: "daemonset", Logger: &logger, Backoff: &backoff})
	delay := backoff.DelayWithReset(clock.RealClock{}, 2*time.Minute)
	for ctx.Err() == nil {
		_ = r.ListAndWatchWithContext(ctx) // its requests have told already
		select {
		case <-ctx.Done():
		case <-time.After(delay()):
		}
	}
	return nil
}

// Ask says what the end of this pod means. It asks the API server once more, for as long as that
// takes to answer at most; what it does not say is as last seen.
func (o *Owner) Ask(ctx context.Context) tenure.Verdict {
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	set, err := o.client.AppsV1().DaemonSets(o.namespace).Get(asking, o.name, metav1.GetOptions{})
	switch {
	case err == nil:
		o.take(set)
	case apierrors.IsNotFound(err):
		o.take(nil)
	default:
		o.log.Warn("the DaemonSet can't be asked for at the end; it counts as last seen", "daemonSet", o.title(), "err", err)
	}
	f := o.Facts()
	if n, err := o.client.CoreV1().Namespaces().Get(asking, o.namespace, metav1.GetOptions{}); err == nil {
		f.Ending = n.DeletionTimestamp != nil
	}
	v := tenure.Decide(f)
	if v.Outcome != tenure.Restart {
		return v
	}
	sleep(ctx, newsTime)
	later := o.Facts()
	later.Ending = f.Ending
	return tenure.Decide(later)
}

// Facts are what is known at the moment.
func (o *Owner) Facts() tenure.Facts {
	f := tenure.Facts{Name: o.title()}
	f.Node, f.Gone = o.source.ownNode()
	o.mu.Lock()
	defer o.mu.Unlock()
	f.DaemonSet, f.Deleted = o.set, o.seen && o.set == nil
	return f
}

// Problem says why the DaemonSet is not known; empty if it is, and while that may just take its
// time.
func (o *Owner) Problem() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.seen:
		return ""
	case o.listed:
		return fmt.Sprintf("there is no DaemonSet %s, so that an end of this agent's pod counts as a restart; set source.daemonSet to the one that the pod is of", o.title())
	case o.problem != "":
		return fmt.Sprintf("DaemonSet %s can't be read, so that an end of this agent's pod counts as a restart: %s", o.title(), o.problem)
	}
	return ""
}

func (o *Owner) title() string { return nameOf(o.namespace, o.name) }

// take notes the DaemonSet as it is now; nil where there is none.
func (o *Owner) take(set *appsv1.DaemonSet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.set, o.listed, o.seen = set, true, o.seen || set != nil
}

// note takes what came of a request; a server that does not answer is told of elsewhere.
func (o *Owner) note(err error) {
	var answer apierrors.APIStatus
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil:
		o.problem = ""
	case errors.As(err, &answer):
		o.problem = answer.Status().Message
	}
}

// Add implements [cache.ReflectorStore].
func (o *Owner) Add(obj any) error {
	set, is := obj.(*appsv1.DaemonSet)
	if !is {
		return fmt.Errorf("DaemonSet %s: it is a %T", o.title(), obj)
	}
	o.take(set)
	return nil
}

// Update implements [cache.ReflectorStore].
func (o *Owner) Update(obj any) error { return o.Add(obj) }

// Delete implements [cache.ReflectorStore].
func (o *Owner) Delete(any) error { o.take(nil); return nil }

// Replace implements [cache.ReflectorStore]. The list has one object at most.
func (o *Owner) Replace(list []any, _ string) error {
	if len(list) == 0 {
		o.take(nil)
		return nil
	}
	return o.Add(list[0])
}

// Resync implements [cache.ReflectorStore]; nothing is to be done again.
func (o *Owner) Resync() error { return nil }
