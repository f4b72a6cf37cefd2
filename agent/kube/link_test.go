package kube

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answer is a RoundTripper that gives the same answer to all.
type answer struct {
	status int
	err    error
}

func (a answer) RoundTrip(*http.Request) (*http.Response, error) {
	if a.err != nil {
		return nil, a.err
	}
	return &http.Response{StatusCode: a.status, Status: http.StatusText(a.status), Body: http.NoBody}, nil
}

// TestLink checks what counts as an answer, since when, and that each change is said once.
func TestLink(t *testing.T) {
	now := time.Unix(1000, 0)
	var log bytes.Buffer
	l := newLinkState("https://server", func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil)))
	if got := l.get(); got.Connected || got.Error == "" || got.Server != "https://server" {
		t.Errorf("before the first request: %+v", got)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	refused := errors.New("connection refused")
	for i, step := range []struct {
		what      string
		ctx       context.Context
		method    string
		answer    answer
		connected bool
		fresh     bool // it is a change
	}{
		{"first", t.Context(), "GET", answer{status: 200}, true, true},
		{"again", t.Context(), "GET", answer{status: 200}, true, false},
		{"forbidden is an answer", t.Context(), "GET", answer{status: 403}, true, false},
		{"an internal error too", t.Context(), "GET", answer{status: 500}, true, false},
		{"a webhook's gateway", t.Context(), "PATCH", answer{status: 504}, true, false},
		{"the caller gave up", canceled, "GET", answer{err: context.Canceled}, true, false},
		{"refused", t.Context(), "GET", answer{err: refused}, false, true},
		{"refused again", t.Context(), "POST", answer{err: refused}, false, false},
		{"the caller gives up", canceled, "GET", answer{err: context.Canceled}, false, false},
		{"a gateway", t.Context(), "GET", answer{status: 503}, false, false},
		{"back", t.Context(), "PUT", answer{status: 409}, true, true},
		{"a gateway first", t.Context(), "GET", answer{status: 502}, false, true},
		{"too late", t.Context(), "GET", answer{err: context.DeadlineExceeded}, false, false},
	} {
		now = now.Add(time.Second)
		before, logged := l.get(), log.Len()
		r, _ := http.NewRequestWithContext(step.ctx, step.method, "https://server/", nil)
		_, _ = l.transport(step.answer).RoundTrip(r)
		got := l.get()
		if got.Connected != step.connected || (got.Error == "") != step.connected {
			t.Errorf("%d, %s: %+v", i, step.what, got)
		}
		if fresh := got.Since.Equal(now); fresh != step.fresh || !fresh && !got.Since.Equal(before.Since) || (log.Len() > logged) != step.fresh {
			t.Errorf("%d, %s: since %v at %v, log %q", i, step.what, got.Since, now, log.String()[logged:])
		}
	}
	if got := strings.Count(log.String(), "\n"); got != 4 {
		t.Errorf("%d lines in the log:\n%s", got, &log)
	}
}
