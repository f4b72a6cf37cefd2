package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/penstock-lb/penstock/agent/ipam"
)

const component = "penstock" // what Events say they are from

// Events of the decisions of the one leader: a rollout of a thousand Services is told of in
// less than a minute.
const (
	decisionBurst = 100
	decisionRate  = 20 // a second
)

// subject is the Service that an Event is of.
type subject struct {
	service string // namespace/name
	uid     types.UID
}

func (s subject) split() (namespace, name string) {
	namespace, name, _ = strings.Cut(s.service, "/")
	return namespace, name
}

// eventName is the same on every node and after every restart, so that all of them find
// the Event that says what they would, and one object stands for it.
func eventName(s subject, parts ...string) string {
	_, name := s.split()
	sum := sha256.Sum256([]byte(strings.Join(append([]string{string(s.uid)}, parts...), "\x00")))
	return name + "." + hex.EncodeToString(sum[:8])
}

// eventWriter writes Events by their names.
type eventWriter struct {
	set   kubernetes.Interface
	write func(ctx context.Context) error // waits until one more may be written
}

// put has edit change the Event of a name, or a new one, whose Count is 0, and writes it,
// unless edit says that there is nothing to write. A conflict is an error like any other:
// whoever tries again reads it again.
func (w eventWriter) put(ctx context.Context, s subject, name string, edit func(*corev1.Event) bool) error {
	namespace, svc := s.split()
	of := corev1.ObjectReference{Kind: "Service", APIVersion: "v1", Namespace: namespace, Name: svc, UID: s.uid}
	return w.putOf(ctx, of, namespace, name, edit)
}

// putOf is put for an Event of any object, which is in a namespace of its own.
func (w eventWriter) putOf(ctx context.Context, of corev1.ObjectReference, namespace, name string, edit func(*corev1.Event) bool) error {
	events := w.set.CoreV1().Events(namespace)
	e, err := events.Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read event %s/%s: %w", namespace, name, err)
	}
	fresh := err != nil
	if fresh {
		e = &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: name},
			InvolvedObject: of,
			Source:         corev1.EventSource{Component: component}, ReportingController: component,
			FirstTimestamp: metav1.NewTime(time.Now()), LastTimestamp: metav1.NewTime(time.Now()),
		}
	}
	if !edit(e) {
		return nil
	}
	if err := w.write(ctx); err != nil {
		return err
	}
	if fresh {
		_, err = events.Create(ctx, e, metav1.CreateOptions{})
	} else {
		_, err = events.Update(ctx, e, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write event %s/%s: %w", namespace, name, err)
	}
	return nil
}

// again says that what an Event tells of has happened now.
func again(e *corev1.Event, kind, reason, message string) bool {
	e.Type, e.Reason, e.Message = kind, reason, cut(message, maxMessage)
	e.Count++
	e.LastTimestamp = metav1.NewTime(time.Now())
	return true
}

// recorder writes the Events of decisions. They follow from writes of the condition, so
// that a leader that finds the condition as it would write it says nothing again.
type recorder struct {
	out    *outbox
	events eventWriter
}

func newRecorder(set kubernetes.Interface, up func() bool, log *slog.Logger) *recorder {
	out := newOutbox(up, decisionBurst, decisionRate, log)
	return &recorder{out: out, events: eventWriter{set: set, write: out.allow}}
}

func (r *recorder) run(ctx context.Context) { r.out.run(ctx) }

// said queues the Events of a status that has been written.
func (c *Controller) said(ch change) {
	d, now := ch.decision, condition(ch.decision)
	c.log.Info("service", "service", d.Service, "addresses", d.Addresses, "reason", now.Reason, "message", now.Message)
	before := ""
	if ch.before != nil {
		before = ch.before.Message
	}
	news := ch.moved || ch.before == nil || ch.before.Reason != now.Reason
	if now.Status == metav1.ConditionTrue && news {
		c.notes.tell(d, corev1.EventTypeNormal, now.Reason, now.Message)
	}
	var reasons []string // in the order of the findings
	texts := map[string][]string{}
	fresh := map[string]bool{}
	for _, f := range slices.Concat(d.Refused, d.Warnings) {
		reason, text := string(f.Reason), sentence(f)
		if texts[reason] == nil {
			reasons = append(reasons, reason)
		}
		texts[reason] = append(texts[reason], text)
		fresh[reason] = fresh[reason] || !strings.Contains(before, text)
	}
	for _, reason := range reasons {
		if fresh[reason] {
			c.notes.tell(d, corev1.EventTypeWarning, reason, strings.Join(texts[reason], "; "))
		}
	}
	if len(d.Addresses) == 0 && len(d.Refused) == 0 && news {
		c.notes.tell(d, corev1.EventTypeWarning, now.Reason, now.Message)
	}
}

// tell queues one Event; of two of one Service and reason the newer one is written.
func (r *recorder) tell(d ipam.Decision, kind, reason, message string) {
	s := subject{d.Service, types.UID(d.UID)}
	name := eventName(s, reason)
	r.out.put(d.Service+" "+name, 0, func(ctx context.Context) error {
		return r.events.put(ctx, s, name, func(e *corev1.Event) bool { return again(e, kind, reason, message) })
	})
}
