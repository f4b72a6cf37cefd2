package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/drain"
)

// drained is an agent whose drain goes on with each look at it.
type drained struct {
	*site
	mu     sync.Mutex
	asked  []api.DrainRequest
	stages []api.DrainStatus
	err    error
}

func (d *drained) next() api.DrainStatus {
	s := d.stages[0]
	if len(d.stages) > 1 {
		d.stages = d.stages[1:]
	}
	return s
}

func (d *drained) Drain(_ context.Context, r api.DrainRequest) (api.DrainStatus, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, r)
	return d.next(), d.err
}

func (d *drained) Undrain(context.Context) (api.DrainStatus, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.next(), d.err
}

func (d *drained) Status() api.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, status := d.next(), d.status
	if len(s.Asks) > 0 {
		status.Drain = &s
	}
	return status
}

func (d *drained) call(t *testing.T, args string) (code int, stdout, stderr string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	server, err := api.Listen(api.Options{Socket: socket}, d, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(serving) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	var out, errs bytes.Buffer
	code = run(t.Context(), append(strings.Fields(args), "--socket", socket), env{
		stdout: &out, stderr: &errs, now: func() time.Time { return noon }, progress: time.Millisecond,
	})
	return code, out.String(), errs.String()
}

func TestDrainCommand(t *testing.T) {
	by := []drain.Ask{{By: drain.Command, Why: "new RAM"}}
	begun := api.DrainStatus{
		Stage: drain.GracefulShutdown, Since: noon.Add(-3 * time.Second), Deadline: noon.Add(7 * time.Second), Asks: by, PacketsPerSecond: 1234, Successor: "lb-2",
	}
	alone, gone := begun, api.DrainStatus{Stage: drain.Withdrawn, Since: noon.Add(-time.Second), Asks: by}
	alone.Successor = ""
	expired, plain := gone, api.DrainStatus{Stage: drain.Announced, Since: noon}
	expired.Expired = true
	cordoned := api.DrainStatus{Stage: drain.Withdrawn, Since: noon, Asks: []drain.Ask{{By: drain.Node, Why: "it is cordoned"}}}
	const progress = "gracefulShutdown for 3s, by command: new RAM; 1234 packets/s, the routes go in 7s at the latest\n"
	for _, tt := range []struct {
		name, args     string
		stages         []api.DrainStatus
		err            error
		asked          *api.DrainRequest
		code           int
		stdout, stderr string
	}{
		{"begun", "drain", []api.DrainStatus{begun}, nil, &api.DrainRequest{}, exitOK, progress, ""},
		{"all flags", "drain --reason new-RAM --timeout 90s --force", []api.DrainStatus{alone}, nil,
			&api.DrainRequest{Reason: "new-RAM", Timeout: 90, Force: true}, exitOK, progress, "penstock: no other LB node is known that could take over\n"},
		{"waited for", "drain --wait", []api.DrainStatus{begun, begun, gone}, nil, &api.DrainRequest{}, exitOK,
			"withdrawn for 1s, by command: new RAM\n", "penstock: " + progress + "penstock: " + progress},
		{"expired", "drain --wait", []api.DrainStatus{begun, expired}, nil, &api.DrainRequest{}, exitExpired,
			"withdrawn for 1s, by command: new RAM; the routes went while traffic still arrived\n", "penstock: " + progress},
		{"ended meanwhile", "drain --wait", []api.DrainStatus{begun, plain}, nil, &api.DrainRequest{}, exitError, "",
			"penstock: " + progress + "penstock: the drain was ended before the routes were withdrawn\n"},
		{"refused", "drain", []api.DrainStatus{begun}, errors.New("nobody could take over; --force"), &api.DrainRequest{}, exitError, "",
			"penstock: agent: nobody could take over; --force\n"},
		{"too long", "drain --timeout 25h", []api.DrainStatus{begun}, nil, nil, exitError, "",
			"penstock: agent: a timeout of 90000s: write one up to 24h0m0s, or none for drainTimeout\n"},
		{"no time", "drain --timeout 0s", []api.DrainStatus{begun}, nil, nil, exitUsage, "",
			"penstock: --timeout 0s: write a time above 0, as in 30s or 5m\nSee 'penstock drain --help'.\n"},
		{"back", "undrain", []api.DrainStatus{plain}, nil, nil, exitOK, "announced for 0s\n", ""},
		{"back, but cordoned", "undrain", []api.DrainStatus{cordoned}, nil, nil, exitOK,
			"withdrawn for 0s, by node: it is cordoned\n", "penstock: the node drains nevertheless, by node: it is cordoned\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &drained{site: testNode(), stages: tt.stages, err: tt.err}
			code, stdout, stderr := d.call(t, tt.args)
			if code != tt.code || stdout != tt.stdout || stderr != tt.stderr {
				t.Errorf("exit code %d, want %d\nstdout %q\n  want %q\nstderr %q\n  want %q", code, tt.code, stdout, tt.stdout, stderr, tt.stderr)
			}
			var want []api.DrainRequest
			if tt.asked != nil {
				want = append(want, *tt.asked)
			}
			if diff := cmp.Diff(want, d.asked); diff != "" {
				t.Errorf("asked: want -, got +\n%s", diff)
			}
		})
	}
	t.Run("JSON", func(t *testing.T) {
		d := &drained{site: testNode(), stages: []api.DrainStatus{begun, gone}}
		_, stdout, _ := d.call(t, "drain --wait -o json")
		var got api.DrainStatus
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.Stage != drain.Withdrawn || got.Asks[0].By != drain.Command {
			t.Errorf("%s: %v", stdout, err)
		}
	})
	t.Run("status", func(t *testing.T) {
		d := &drained{site: testNode(), stages: []api.DrainStatus{begun}}
		if code, stdout, _ := d.call(t, "status"); code != exitOK || !strings.Contains(stdout, "\nDrain:     "+progress) {
			t.Errorf("exit code %d\n%s", code, stdout)
		}
	})
}

func TestDrainOfAnIngressNode(t *testing.T) {
	for _, args := range []string{"drain", "undrain"} {
		if code, _, stderr := call(t, testNode(), true, args); code != exitError || !strings.Contains(stderr, "kubectl drain") {
			t.Errorf("%s: exit code %d, %q", args, code, stderr)
		}
		if code, _, stderr := call(t, testNode(), false, args); code != exitError || !strings.Contains(stderr, "penstock agent") {
			t.Errorf("%s without an agent: exit code %d, %q", args, code, stderr)
		}
	}
}
