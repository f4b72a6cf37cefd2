package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/penstock-lb/penstock/agent/desired"
)

// daemonSets are those of Penstock in the order in which they go: LB nodes first, so that nothing
// is sent to ingress nodes any more when theirs follow.
var daemonSets = []string{"penstock-lb", "penstock-backend"}

// UninstallOptions say where and how.
type UninstallOptions struct {
	Kubeconfig string // a file; empty: as a pod of the cluster
	Namespace  string
	UserAgent  string
	Timeout    time.Duration // for the pods of one DaemonSet to end
	DryRun     bool
	Say        func(line string) // progress
}

// Unclean is a Node on which something may be left, and why.
type Unclean struct{ Node, Why string }

// removal is one uninstallation.
type removal struct {
	UninstallOptions
	client  kubernetes.Interface
	unclean map[string]string // by Node
	again   bool              // penstock-lb was deleted before, and what has become of its agents is not seen
}

// Uninstall takes Penstock out of a cluster: it deletes the DaemonSets, waits for their agents to
// drain and clean up, and removes what they published. Services keep their addresses. The Nodes
// that it returns are for somebody to look after; all the rest has been done then.
func Uninstall(ctx context.Context, o UninstallOptions) ([]Unclean, error) {
	cfg, err := restConfig(Options{Kubeconfig: o.Kubeconfig})
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes, by --kubeconfig or as a pod: %w", err)
	}
	cfg.UserAgent = o.UserAgent
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	return uninstall(ctx, client, o)
}

func uninstall(ctx context.Context, client kubernetes.Interface, o UninstallOptions) ([]Unclean, error) {
	r := &removal{UninstallOptions: o, client: client, unclean: map[string]string{}}
	for _, name := range daemonSets {
		if err := r.daemonSet(ctx, name); err != nil {
			return r.left(), err
		}
	}
	err := errors.Join(r.nodes(ctx), r.leases(ctx))
	if err == nil && len(r.unclean) == 0 && !r.DryRun {
		r.say("%s", r.conclusion())
	}
	return r.left(), err
}

// conclusion says no more than is known: the Nodes that one uninstallation named the next one
// does not see, as neither a pod nor an annotation is there any more.
func (r *removal) conclusion() string {
	if r.again {
		return "nothing of Penstock is left in the cluster; if an earlier uninstall named Nodes, they are as it said until they are rebooted or 'penstock cleanup' has run there"
	}
	return "nothing of Penstock is left on the nodes"
}

func (r *removal) say(format string, args ...any) { r.Say(fmt.Sprintf(format, args...)) }

func (r *removal) left() (out []Unclean) {
	for node, why := range r.unclean {
		out = append(out, Unclean{node, why})
	}
	slices.SortFunc(out, func(a, b Unclean) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// daemonSet deletes one and waits for its pods. Those of one that is gone already, as by an
// uninstallation that was broken off, are waited for too.
func (r *removal) daemonSet(ctx context.Context, name string) error {
	pods, version, err := r.pods(ctx, name)
	if err != nil {
		return err
	}
	sets := r.client.AppsV1().DaemonSets(r.Namespace)
	_, err = sets.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		r.say("DaemonSet %s/%s is not there", r.Namespace, name)
		r.again = r.again || name == daemonSets[0]
	case err != nil:
		return fmt.Errorf("read DaemonSet %s/%s: %w", r.Namespace, name, err)
	case r.DryRun:
		r.say("would delete DaemonSet %s/%s, and wait for %d pods to drain and clean up: %s", r.Namespace, name, len(pods), places(pods))
		return nil
	default:
		background := metav1.DeletePropagationBackground
		err := sets.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete DaemonSet %s/%s: %w", r.Namespace, name, err)
		}
		r.say("deleted DaemonSet %s/%s; %d pods drain and clean up: %s", r.Namespace, name, len(pods), places(pods))
	}
	if r.DryRun || len(pods) == 0 {
		return nil
	}
	return r.await(ctx, name, pods, version)
}

// pods are those of a DaemonSet by name, with the version of the list.
func (r *removal) pods(ctx context.Context, set string) (map[string]*corev1.Pod, string, error) {
	list, err := r.client.CoreV1().Pods(r.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("list pods of %s: %w", r.Namespace, err)
	}
	pods := map[string]*corev1.Pod{}
	for i := range list.Items {
		if p := &list.Items[i]; ofSet(p, set) {
			pods[p.Name] = p
		}
	}
	return pods, list.ResourceVersion, nil
}

func ofSet(p *corev1.Pod, set string) bool {
	owner := metav1.GetControllerOf(p)
	return owner != nil && owner.Kind == "DaemonSet" && owner.Name == set
}

// places names pods with their Nodes.
func places(pods map[string]*corev1.Pod) string {
	var out []string
	for name, p := range pods {
		out = append(out, name+" on "+p.Spec.NodeName)
	}
	slices.Sort(out)
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// sayEvery is how often those are named that are waited for.
const sayEvery = 5 * time.Second

// await waits until pods have ended. How one ended is seen in its last words only, so that they
// are watched and not looked at from time to time.
func (r *removal) await(ctx context.Context, set string, pods map[string]*corev1.Pod, version string) error {
	began := time.Now()
	timeout := time.NewTimer(r.Timeout)
	defer timeout.Stop()
	progress := time.NewTicker(sayEvery)
	defer progress.Stop()
	for {
		w, err := r.client.CoreV1().Pods(r.Namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: version})
		if err != nil && ctx.Err() == nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			return fmt.Errorf("watch pods of %s: %w", r.Namespace, err)
		}
		for open := err == nil; open && len(pods) > 0; {
			select {
			case <-ctx.Done():
				w.Stop()
				return ctx.Err()
			case <-timeout.C:
				w.Stop()
				r.late(pods)
				return nil
			case <-progress.C:
				r.say("  after %s still there: %s", time.Since(began).Round(time.Second), places(pods))
			case e, more := <-w.ResultChan():
				p, is := e.Object.(*corev1.Pod)
				if open = more && is; open && ofSet(p, set) {
					r.see(e.Type == "DELETED", p, pods, began)
				}
			}
		}
		if w != nil {
			w.Stop()
		}
		if len(pods) == 0 {
			r.say("all pods of DaemonSet %s/%s have ended, after %s", r.Namespace, set, time.Since(began).Round(time.Second))
			return nil
		}
		now, v, err := r.pods(ctx, set)
		if err != nil {
			return err
		}
		for name, p := range pods {
			if now[name] == nil {
				r.see(true, p, pods, began)
			}
		}
		version = v
	}
}

// see takes the newest of a pod.
func (r *removal) see(gone bool, p *corev1.Pod, pods map[string]*corev1.Pod, began time.Time) {
	for _, c := range p.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
			why := fmt.Sprintf("its agent's pod %s ended with code %d", p.Name, t.ExitCode)
			if text := strings.TrimSpace(t.Message); text != "" {
				why += ": " + text
			}
			r.unclean[p.Spec.NodeName] = why
		}
	}
	if !gone {
		pods[p.Name] = p
		return
	}
	if _, waited := pods[p.Name]; waited {
		delete(pods, p.Name)
		r.say("  pod %s on %s has ended, after %s", p.Name, p.Spec.NodeName, time.Since(began).Round(time.Second))
	}
}

// late notes those that have not ended in time, as on a node that is off.
func (r *removal) late(pods map[string]*corev1.Pod) {
	for name, p := range pods {
		r.unclean[p.Spec.NodeName] = fmt.Sprintf("its agent's pod %s has not ended in %s", name, r.Timeout)
	}
	r.say("  given up waiting after %s for: %s", r.Timeout, places(pods))
}

// nodes removes what agents have published. An agent that leaves for good has done so itself.
func (r *removal) nodes(ctx context.Context) error {
	list, err := r.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	var errs []error
	for i := range list.Items {
		n := &list.Items[i]
		for _, name := range []string{desired.LBAnnotation, desired.BackendAnnotation} {
			if _, set := n.Annotations[name]; !set {
				continue
			}
			if r.DryRun {
				r.say("would remove annotation %s from Node %s, unless its agent does", name, n.Name)
				continue
			}
			if r.unclean[n.Name] == "" {
				r.unclean[n.Name] = "its agent has left the annotation " + name + ": it was killed, runs outside of the DaemonSets, or has not shutdown: auto"
			}
			own := &annotator{set: r.client, node: n.Name, annotation: name, log: slog.New(slog.DiscardHandler)}
			if err := own.forget(ctx); err != nil {
				errs = append(errs, err)
				continue
			}
			r.say("removed annotation %s from Node %s", name, n.Name)
		}
	}
	return errors.Join(errs...)
}

// leases removes those by which agents have agreed on who gives addresses.
func (r *removal) leases(ctx context.Context) error {
	var errs []error
	for _, name := range []string{LeaderLease, FenceLease} {
		if r.DryRun {
			r.say("would delete Lease %s/%s", r.Namespace, name)
			continue
		}
		err := r.client.CoordinationV1().Leases(r.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
		switch {
		case err == nil:
			r.say("deleted Lease %s/%s", r.Namespace, name)
		case !apierrors.IsNotFound(err):
			errs = append(errs, fmt.Errorf("delete Lease %s/%s: %w", r.Namespace, name, err))
		}
	}
	return errors.Join(errs...)
}
