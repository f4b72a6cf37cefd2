package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SessionDown is the reason of Events of BGP sessions that ended.
const SessionDown = "BGPSessionDown"

// sessionKey is the prefix of the keys of jobs of sessions.
const sessionKey = "session "

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
	r.out.put(sessionKey+end.Peer, jitter(r.delay.soon), func(ctx context.Context) error {
		// As kubelets have it, so that `kubectl describe node` finds it: the name is the UID.
		node := corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: r.node, UID: types.UID(r.node)}
		s := subject{"/" + r.node, node.UID}
		name := eventName(s, SessionDown, end.Peer)
		return r.events.putOf(ctx, node, metav1.NamespaceDefault, name, func(e *corev1.Event) bool {
			return again(e, corev1.EventTypeWarning, SessionDown, end.String())
		})
	})
}
