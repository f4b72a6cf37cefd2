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
	// successorTime is what a DaemonSet that is deleted may take to be made anew under its name, as
	// by `kubectl replace --force`: all nodes would drain at once for it.
	successorTime = 3 * time.Second
	successorPoll = 250 * time.Millisecond
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
	began := time.Now()
	f := o.look(ctx)
	v := tenure.Decide(f)
	switch {
	case v.Outcome == tenure.Restart:
		sleep(ctx, newsTime)
		later := o.Facts()
		later.Ending = f.Ending
		return tenure.Decide(later)
	case f.Deleted && !f.Ending:
		for ctx.Err() == nil && f.Deleted && time.Since(began) < successorTime {
			sleep(ctx, successorPoll)
			f = o.look(ctx)
		}
		return tenure.Decide(f)
	}
	return v
}

// look asks for all that decides: watches may be behind of what has ended the pod.
func (o *Owner) look(ctx context.Context) tenure.Facts {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	set, err := o.client.AppsV1().DaemonSets(o.namespace).Get(ctx, o.name, metav1.GetOptions{})
	switch {
	case err == nil:
		o.take(set)
	case notThere(err):
		o.take(nil)
	default:
		o.log.Warn("the DaemonSet can't be asked for at the end; it counts as last seen", "daemonSet", o.title(), "err", err)
	}
	f := o.Facts()
	if n, err := o.client.CoreV1().Namespaces().Get(ctx, o.namespace, metav1.GetOptions{}); err == nil {
		f.Ending = n.DeletionTimestamp != nil
	}
	self := fields.OneTermEqualSelector(metav1.ObjectNameField, o.source.self()).String()
	// Agents may list Nodes and not get one.
	if nodes, err := o.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{FieldSelector: self}); err == nil {
		f.Gone = len(nodes.Items) == 0 && (f.Gone || f.Node != nil)
		f.Node = nil
		if len(nodes.Items) > 0 {
			f.Node = &nodes.Items[0]
		}
	}
	return f
}

// notThere tells whether the API server says so: something in front of it that answers 404 to
// all there is must not end all agents for good.
func notThere(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
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
