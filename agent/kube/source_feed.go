package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// listTimeout is far above what an API server takes for 10,000 objects.
const listTimeout = time.Minute

// feed follows all objects of one kind. It is the store of its reflector, and passes on
// what that brings.
type feed struct {
	source   *Source
	kind     string // as in "Service"
	resource string // as in "services"
	example  runtime.Object
	list     func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch    func(context.Context, metav1.ListOptions) (watch.Interface, error)
	trim     func(any) any
	put      func(*index, any)
	remove   func(*index, string)  // by namespace/name
	have     func(*index) []string // all, by namespace/name
	listed   bool                  // at least once; the source's mutex guards it
}

// feedOf makes a feed of one type.
func feedOf[T interface {
	comparable
	runtime.Object
}, L runtime.Object](kind, resource string, example T, client interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}, trim func(T) T, put func(*index, T), remove func(*index, string), have func(*index) []string) *feed {
	return &feed{
		kind: kind, resource: resource, example: example,
		list:   func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
		watch:  client.Watch,
		trim:   func(o any) any { return trim(o.(T)) },
		put:    func(ix *index, o any) { put(ix, o.(T)) },
		remove: remove, have: have,
	}
}

// allFeeds gives those of a role.
func (s *Source) allFeeds(o Options) []*feed {
	names := func(m map[string]string) (out []string) {
		for name := range m {
			out = append(out, name)
		}
		return out
	}
	feeds := []*feed{
		feedOf("EndpointSlice", "endpointslices", &discoveryv1.EndpointSlice{}, s.client.DiscoveryV1().EndpointSlices(metav1.NamespaceAll),
			newTrimmer(o).slice, (*index).putSlice, (*index).removeSlice, func(ix *index) []string { return names(ix.owners) }),
		feedOf("Node", "nodes", &corev1.Node{}, s.client.CoreV1().Nodes(),
			newTrimmer(o).nodeObject, (*index).putNode, (*index).removeNode, func(ix *index) []string { return keysOf(ix.nodes) }),
	}
	if o.Role == roleLB {
		feeds = append(feeds,
			feedOf("Service", "services", &corev1.Service{}, s.client.CoreV1().Services(metav1.NamespaceAll),
				newTrimmer(o).service, (*index).putService, (*index).removeService, (*index).services),
			feedOf("Namespace", "namespaces", &corev1.Namespace{}, s.client.CoreV1().Namespaces(),
				newTrimmer(o).namespace, (*index).putNamespace, (*index).removeNamespace, func(ix *index) []string { return keysOf(ix.namespaces) }))
	}
	for _, f := range feeds {
		f.source = s
	}
	return feeds
}

// run follows the objects until ctx ends.
func (f *feed) run(ctx context.Context) {
	backoff := wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 10 * time.Second}
	logger := klog.FromContext(ctx)
	r := cache.NewReflectorWithOptions(&cache.ListWatch{ListWithContextFunc: f.askList, WatchFuncWithContext: f.askWatch}, f.example, f,
		cache.ReflectorOptions{Name: f.resource, Logger: &logger, Backoff: &backoff})
	delay := backoff.DelayWithReset(clock.RealClock{}, 2*time.Minute)
	for ctx.Err() == nil {
		_ = r.ListAndWatchWithContext(ctx) // its requests have told already
		select {
		case <-ctx.Done():
		case <-time.After(delay()):
		}
	}
}

func (f *feed) askList(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	out, err := f.list(ctx, o)
	f.source.note("list", f.resource, f.kind, err)
	return out, err
}

// errNoStream hides what kind of error one is. A reflector whose stream of the initial state
// is refused sleeps at some kinds of errors, and wakes not even when its context ends; at
// others it lists.
var errNoStream = errors.New("no stream of the initial state")

func (f *feed) askWatch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w, err := f.watch(ctx, o)
	stream := o.SendInitialEvents != nil && *o.SendInitialEvents
	if !stream || !apierrors.IsInvalid(err) { // as servers before 1.32 answer
		f.source.note("watch", f.resource, f.kind, err)
	}
	if err == nil && stream { // then nothing has to be listed
		f.source.note("list", f.resource, f.kind, nil)
	}
	return w, streamError(o, err)
}

// streamError is what a reflector is to be told of a watch that failed.
func streamError(o metav1.ListOptions, err error) error {
	stream := o.SendInitialEvents != nil && *o.SendInitialEvents
	if err != nil && stream && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) && !apierrors.IsTimeout(err) {
		return fmt.Errorf("%w: %s", errNoStream, err.Error())
	}
	return err
}

// Transformer lets the reflector trim what it collects for Replace.
func (f *feed) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		if _, is := o.(metav1.Object); !is {
			return o, nil
		}
		return f.trim(o), nil
	}
}

// Add implements [cache.ReflectorStore].
func (f *feed) Add(o any) error {
	o = f.trim(o)
	f.source.change(func(ix *index) { f.put(ix, o) })
	return nil
}

// Update implements [cache.ReflectorStore].
func (f *feed) Update(o any) error { return f.Add(o) }

// Delete implements [cache.ReflectorStore].
func (f *feed) Delete(o any) error {
	m, is := o.(metav1.Object)
	if !is {
		return fmt.Errorf("delete %s: it is a %T", f.kind, o)
	}
	f.source.change(func(ix *index) { f.remove(ix, nameOf(m.GetNamespace(), m.GetName())) })
	return nil
}

// Replace implements [cache.ReflectorStore]. What is not in list is removed last, so that
// what has moved from one object to another is never missed.
func (f *feed) Replace(list []any, _ string) error {
	there := make(map[string]bool, len(list))
	for i, o := range list {
		list[i] = f.trim(o)
		m := o.(metav1.Object)
		there[nameOf(m.GetNamespace(), m.GetName())] = true
	}
	f.source.change(func(ix *index) {
		for _, o := range list {
			f.put(ix, o)
		}
		for _, name := range f.have(ix) {
			if !there[name] {
				f.remove(ix, name)
			}
		}
		if !f.listed {
			f.listed = true
			f.source.listed++
		}
	})
	return nil
}

// Resync implements [cache.ReflectorStore]; nothing is to be done again.
func (f *feed) Resync() error { return nil }

// keysOf gives the keys of a map.
func keysOf[V any](m map[string]V) (out []string) {
	for name := range m {
		out = append(out, name)
	}
	return out
}

// services gives the Services that are known.
func (ix *index) services() (out []string) {
	for _, names := range ix.inNamespace {
		for name := range names {
			out = append(out, name)
		}
	}
	return out
}
