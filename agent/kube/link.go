package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Link is how the way to the API server is.
type Link struct {
	Server    string // its URL
	Connected bool   // it answered when it was last asked
	Since     time.Time
	Error     string // why not; empty if Connected
}

// linkState watches requests and their answers. That a server is not there changes nothing
// but what it says.
type linkState struct {
	now func() time.Time
	log *slog.Logger

	mu    sync.Mutex
	link  Link
	asked bool // at least once
}

func newLinkState(server string, now func() time.Time, log *slog.Logger) *linkState {
	return &linkState{now: now, log: log, link: Link{Server: server, Since: now(), Error: "it has not been asked yet"}}
}

func (l *linkState) get() Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.link
}

// set notes an answer, or with err that there was none. It logs changes alone.
func (l *linkState) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, was, now := !l.asked, l.link, l.now()
	l.asked = true
	if err != nil {
		l.link.Error = err.Error()
	}
	if !first && was.Connected == (err == nil) {
		return
	}
	l.link.Since, l.link.Connected = now, err == nil
	switch {
	case err != nil:
		l.log.Warn("the API server does not answer; what is known of the cluster stays in force", "server", was.Server, "error", err)
	case first:
		l.link.Error = ""
		l.log.Info("the API server answers", "server", was.Server)
	default:
		l.link.Error = ""
		l.log.Info("the API server answers again", "server", was.Server, "after", now.Sub(was.Since).Round(time.Millisecond))
	}
}

// transport is what requests go through.
func (l *linkState) transport(next http.RoundTripper) http.RoundTripper { return &asker{next, l} }

type asker struct {
	http.RoundTripper
	link *linkState
}

// WrappedRoundTripper lets client-go find what is inside.
func (a *asker) WrappedRoundTripper() http.RoundTripper { return a.RoundTripper }

// RoundTrip notes what comes of a request. What a gateway says of a server that it does
// not reach is no answer of that server; of writes it may be one of a webhook's.
func (a *asker) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := a.RoundTripper.RoundTrip(r)
	switch {
	case err != nil && (errors.Is(err, context.Canceled) || errors.Is(r.Context().Err(), context.Canceled)):
	case err != nil:
		a.link.set(err)
	case r.Method == http.MethodGet && (resp.StatusCode == http.StatusBadGateway ||
		resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusGatewayTimeout):
		a.link.set(fmt.Errorf("%s in its place", resp.Status))
	default:
		a.link.set(nil)
	}
	return resp, err
}
