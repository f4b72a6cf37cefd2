package kube

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// TestWatchErrors checks which errors the reflector sees as they are, and which of them
// are problems.
func TestWatchErrors(t *testing.T) {
	client, err := connect(Options{Role: roleBackend}, &rest.Config{Host: "https://192.0.2.1"}, slog.New(slog.DiscardHandler))
	must(t, err)
	services := schema.GroupResource{Resource: "services"}
	for _, c := range []struct {
		err            error
		hidden         bool   // for a stream of the initial state
		problem        string // a part of it; empty: it is none
		streamsProblem bool   // for such a stream too
	}{
		{syscall.ECONNREFUSED, true, "", false},
		{apierrors.NewTooManyRequests("slow down", 1), true, "", false},
		{apierrors.NewResourceExpired("too old"), false, "", false},
		{apierrors.NewTimeoutError("too large resource version", 1), false, "", false},
		{apierrors.NewForbidden(services, "", errors.New("no")), true, "forbids to watch nodes", true},
		{apierrors.NewUnauthorized("who"), true, "credentials", true},
		{apierrors.NewInternalError(errors.New("etcd")), true, "does not watch nodes", true},
		{apierrors.NewInvalid(schema.GroupKind{Kind: "ListOptions"}, "", nil), true, "does not watch nodes", false},
	} {
		for _, stream := range []bool{false, true} {
			s := NewSource(client, slog.New(slog.DiscardHandler))
			now := time.Unix(1000, 0)
			s.now = func() time.Time { return now }
			f := s.feeds[1]
			f.watch = func(context.Context, metav1.ListOptions) (watch.Interface, error) { return nil, c.err }
			_, err := f.askWatch(t.Context(), metav1.ListOptions{SendInitialEvents: &stream})
			if hidden := errors.Is(err, errNoStream); hidden != (stream && c.hidden) || !hidden && !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.err.Error()) {
				t.Errorf("%v, stream %v: the reflector sees %v", c.err, stream, err)
			}
			if problems := s.problemList(); len(problems) != 0 {
				t.Errorf("%v, stream %v: at once a problem: %v", c.err, stream, problems)
			}
			now = now.Add(grace)
			_, _ = f.askWatch(t.Context(), metav1.ListOptions{SendInitialEvents: &stream})
			problems := s.problemList()
			if want := c.problem != "" && (!stream || c.streamsProblem); (len(problems) == 1) != want || want && !strings.Contains(problems[0].Message, c.problem) {
				t.Errorf("%v, stream %v: problems %v", c.err, stream, problems)
			}
			f.watch = func(context.Context, metav1.ListOptions) (watch.Interface, error) { return watch.NewEmptyWatch(), nil }
			if _, err := f.askWatch(t.Context(), metav1.ListOptions{}); err != nil || len(s.problemList()) != 0 {
				t.Errorf("%v: after a watch that works: %v, %v", c.err, err, s.problemList())
			}
		}
	}
}
