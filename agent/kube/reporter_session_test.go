package kube

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Sessions that ended are an Event of the Node for each peer, with the rights that agents have.
func TestSessionEnded(t *testing.T) {
	c := newCluster(t)
	c.node(t, "lb1")
	r, _, _ := c.reporter(t, "lb1")
	is := func(message string, count int32, events int) {
		t.Helper()
		eventually(t, message, func() error {
			list, err := c.Client.CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=" + SessionDown + ",involvedObject.name=lb1,involvedObject.kind=Node"})
			if err != nil {
				return err
			}
			for _, e := range list.Items {
				if e.Message == message && e.Count == count && e.Type == corev1.EventTypeWarning && e.InvolvedObject.UID == "lb1" && len(list.Items) == events {
					return nil
				}
			}
			return fmt.Errorf("%d events: %s", len(list.Items), eventLines(list.Items))
		})
	}
	r.SessionEnded(SessionEnd{Peer: "tor1", Router: "192.0.2.1", Cause: "bfd", Detail: "no packet came for 300ms"})
	is("the BGP session with tor1 (192.0.2.1) ended: bfd: no packet came for 300ms", 1, 1)
	r.SessionEnded(SessionEnd{Peer: "tor1", Router: "192.0.2.1", Cause: "holdTimer"})
	is("the BGP session with tor1 (192.0.2.1) ended: holdTimer", 2, 1)
	r.SessionEnded(SessionEnd{Peer: "Tor_2", Router: "fe80::1%eth1"})
	is("the BGP session with Tor_2 (fe80::1%eth1) ended", 1, 2)
}
