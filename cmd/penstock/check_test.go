package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/agent/kube/rollout"
)

// TestCheck: it waits for what is not so yet, and says what was missing in the end.
func TestCheck(t *testing.T) {
	agent := rollout.Agent{Role: "lb", Node: "lb1", Pod: "penstock-lb-x"}
	bad := rollout.Report{Agents: []rollout.Agent{agent}, Problems: []string{"lb1 is not ready", "in1 neither"}}
	agent.Ready = true
	good := rollout.Report{Agents: []rollout.Agent{agent}}
	for _, c := range []struct {
		name           string
		reads          []rollout.Report // the last one again and again
		err            error            // of the first read
		timeout        time.Duration
		stdout, stderr string
		fails          string
	}{
		{"well", []rollout.Report{good}, nil, time.Minute, "lb1", "all 1 agents are ready", ""},
		{"later", []rollout.Report{bad, good}, nil, time.Minute, "yes", "all 1 agents are ready", ""},
		{"later reached", []rollout.Report{{}, good}, errors.New("away"), time.Minute, "yes", "all 1 agents are ready", ""},
		{"never", []rollout.Report{bad}, nil, time.Millisecond, "no", "", "lb1 is not ready\npenstock: in1 neither"},
		{"never reached", []rollout.Report{{}}, errors.New("away"), time.Millisecond, "", "", "away"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			cli := &cli{env: env{stdout: &stdout, stderr: &stderr}, output: "table"}
			ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
			defer cancel()
			n := 0
			err := cli.check(ctx, func(context.Context) (rollout.Report, error) {
				n++
				if n == 1 && c.err != nil {
					return rollout.Report{}, c.err
				}
				return c.reads[min(n, len(c.reads))-1], nil
			})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.fails || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
				t.Errorf("error %q, stdout %q, stderr %q", got, stdout.String(), stderr.String())
			}
		})
	}
}
