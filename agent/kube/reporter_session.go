package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Reasons of Events of Nodes.
const (
	SessionDown   = "BGPSessionDown" // an established BGP session ended
	AgentFailed   = "AgentFailed"    // an agent could not start, or ended by itself
	AttachFailed  = "AttachFailed"   // no program could be put on a device
	ConfigRefused = "ConfigRefused"  // a running agent was given a configuration that is not valid
)

// Prefixes of the keys of jobs.
const (
	sessionKey = "session "
	troubleKey = "trouble "
)

// SessionEnd is an established BGP session of this node that ended.
type SessionEnd struct {
	Peer   string
	Router string // its address, or the interface that it is on
	Cause  string // a bgp.Cause; empty if it is not known
	Detail string
}

func (e SessionEnd) String() string {
	parts := []string{fmt.Sprintf("the BGP session with %s (%s) ended", e.Peer, e.Router), e.Cause, e.Detail}
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), ": ")
}

// SessionEnded warns on this node's Node object. There is one Event for each peer, which counts; of two
// ends that come before the first is written the newer one is.
func (r *Reporter) SessionEnded(end SessionEnd) {
	r.warn(sessionKey+end.Peer, jitter(r.delay.soon), SessionDown, end.Peer, end.String())
}

// Trouble warns on this node's Node object of what keeps the agent from its work. There is one
// Event for each subject, which counts.
func (r *Reporter) Trouble(reason, subject, message string) {
	r.warn(troubleKey+reason+" "+subject, r.delay.soon, reason, subject, message)
}

func (r *Reporter) warn(key string, delay time.Duration, reason, subject, message string) {
	r.out.put(key, delay, func(ctx context.Context) error {
		return r.events.warnOfNode(ctx, r.node, reason, subject, message)
	})
}

// warnOfNode writes an Event of a Node.
func (w eventWriter) warnOfNode(ctx context.Context, name, reason, subject, message string) error {
	// As kubelets have it, so that `kubectl describe node` finds it: the name is the UID.
	node := corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: name, UID: types.UID(name)}
	event := eventName(subjectOf(node), reason, subject)
	return w.putOf(ctx, node, metav1.NamespaceDefault, event, func(e *corev1.Event) bool {
		return again(e, corev1.EventTypeWarning, reason, message)
	})
}

func subjectOf(node corev1.ObjectReference) subject { return subject{"/" + node.Name, node.UID} }

// Failed writes at once, and once, that the agent of a node could not start. It works beside a
// Client that does nothing else.
func (c *Client) Failed(ctx context.Context, message string) error {
	w := eventWriter{set: c.reads, write: func(context.Context) error { return nil }}
	return w.warnOfNode(ctx, c.Options.Node, AgentFailed, c.Options.Role, message)
}
