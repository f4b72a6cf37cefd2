package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/agent/drain"
)

// drainable is an agent that notes what it is asked for.
type drainable struct {
	*fakeAgent
	asked []DrainRequest
	ended int
	err   error
}

func (d *drainable) Drain(_ context.Context, r DrainRequest) (DrainStatus, error) {
	d.asked = append(d.asked, r)
	return DrainStatus{Stage: drain.GracefulShutdown, Asks: []drain.Ask{{By: drain.Command, Why: r.Reason}}, Successor: "lb-2"}, d.err
}

func (d *drainable) Undrain(context.Context) (DrainStatus, error) {
	d.ended++
	return DrainStatus{Stage: drain.Announced}, d.err
}

func TestDrainOverTheSocket(t *testing.T) {
	d := &drainable{fakeAgent: testAgent()}
	socket, _ := serve(t, d)
	c := NewClient(socket)
	want := DrainRequest{Reason: "new RAM", Timeout: 90, Force: true}
	got, err := c.Drain(t.Context(), want)
	if err != nil || got.Stage != drain.GracefulShutdown || got.By() != "command: new RAM" || got.Successor != "lb-2" {
		t.Errorf("drain: %+v, %v", got, err)
	}
	if diff := cmp.Diff([]DrainRequest{want}, d.asked); diff != "" {
		t.Errorf("asked: want -, got +\n%s", diff)
	}
	if got, err := c.Undrain(t.Context()); err != nil || got.Stage != drain.Announced || d.ended != 1 {
		t.Errorf("undrain: %+v, %v", got, err)
	}
	d.err = errors.New("node lb-1 does not drain; --force")
	if _, err := c.Drain(t.Context(), DrainRequest{}); err == nil || !strings.Contains(err.Error(), d.err.Error()) {
		t.Errorf("refused: %v", err)
	}
	for _, r := range []DrainRequest{{Reason: strings.Repeat("x", longestReason+1)}, {Timeout: -1}, {Timeout: 25 * 3600}} {
		if _, err := c.Drain(t.Context(), r); err == nil || !strings.Contains(err.Error(), "write ") {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if len(d.asked) != 2 {
		t.Errorf("the agent was asked %d times", len(d.asked))
	}
	socket, _ = serve(t, testAgent())
	if _, err := NewClient(socket).Drain(t.Context(), DrainRequest{}); err == nil || !strings.Contains(err.Error(), "kubectl drain") {
		t.Errorf("an ingress node: %v", err)
	}
}

// What changes something is for those alone whom the socket's mode lets in.
func TestDrainIsForTheSocketAlone(t *testing.T) {
	d := &drainable{fakeAgent: testAgent()}
	socket := filepath.Join(t.TempDir(), "agent.sock")
	s, err := Listen(Options{Socket: socket, Loopback: "127.0.0.1:0", Metrics: "[::1]:0"}, d, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	ask := func(c *http.Client, method, url, body string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	for _, addr := range s.Addrs()[1:] {
		for _, path := range []string{"/v1/drain", "/v1/undrain"} {
			if code := ask(client, http.MethodPost, "http://"+addr.String()+path, "{}"); code != http.StatusNotFound {
				t.Errorf("POST %s on %s: %d", path, addr, code)
			}
		}
	}
	over := NewClient(socket).http
	for body, want := range map[string]int{"{}": 200, "": 409, "[]": 409, `{"reasons": "x"}`: 409, strings.Repeat(" ", 5<<10) + "{}": 409} {
		if code := ask(over, http.MethodPost, "http://penstock/v1/drain", body); code != want {
			t.Errorf("body %.20q: %d, want %d", body, code, want)
		}
	}
	if code := ask(over, http.MethodGet, "http://penstock/v1/drain", ""); code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", code)
	}
	if len(d.asked) != 1 || d.ended != 0 {
		t.Errorf("asked %d times, ended %d times", len(d.asked), d.ended)
	}
}

// TestADrainIsReady: the node does as it was told, and an update of the others goes on.
func TestADrainIsReady(t *testing.T) {
	s := Status{State: Running, Drain: &DrainStatus{Stage: drain.Withdrawn, Since: time.Unix(0, 0), Asks: []drain.Ask{{By: drain.Node, Why: "it is cordoned"}}}}
	s.Assess()
	if d := strings.Join(append(s.NotReady, s.Degraded...), "\n"); strings.Contains(d, "drain") {
		t.Errorf("not ready or degraded: %s", d)
	}
}
