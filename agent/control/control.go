// Package control is what the loops of both roles have in common beside their work: parts
// that may not end, a configuration that changes, and the question whether a loop still
// moves.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
)

// Component runs a part of an agent, which may not end before ctx does.
func Component(ctx context.Context, g *errgroup.Group, name string, run func(context.Context) error) {
	g.Go(func() error {
		err := run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = errors.New("ended unexpectedly")
		}
		return fmt.Errorf("%s: %w", name, err)
	})
}

// Introduction is how long what an agent writes into its Node may take to come back.
const Introduction = 10 * time.Second

// StuckAfter is how long a pass may take before its loop counts as stuck.
const StuckAfter = time.Minute

// Watchdog knows how long the pass under way has taken. Its zero value is between passes.
type Watchdog struct{ began atomic.Int64 } // Unix ns; 0 between passes

// Begin is the beginning of a pass.
func (w *Watchdog) Begin(now time.Time) { w.began.Store(now.UnixNano()) }

// End is the end of one.
func (w *Watchdog) End() { w.began.Store(0) }

// Err says that the loop is stuck, or nil.
func (w *Watchdog) Err() error {
	began := w.began.Load()
	if began == 0 {
		return nil
	}
	if d := time.Since(time.Unix(0, began)); d > StuckAfter {
		return fmt.Errorf("the loop has been in one pass for %s", d.Round(time.Second))
	}
	return nil
}

// Configs gives the configuration in force.
type Configs interface {
	Run(ctx context.Context) error // until ctx ends
	Config() *config.Config        // the last good one
	Err() error                    // why the newest is not in force
	Changed() <-chan struct{}      // Config or Err
}

// Reloaded is what came of a change of the configuration.
type Reloaded struct {
	Config  *config.Config          // to be in force from now on
	Live    []string                // the keys of it that changed and apply at once
	Refused string                  // why the newest is not in force; empty where it is
	Note    func(*api.ConfigStatus) // publishes it
}

// Reload takes over what changed and applies live. What needs a restart, compared with the
// configuration that the agent booted with, is named and left as it was. A configuration
// that is not valid changes nothing.
func Reload(configs Configs, booted, current *config.Config, level *slog.LevelVar, log *slog.Logger) Reloaded {
	now := time.Now()
	if err := configs.Err(); err != nil {
		return Reloaded{Config: current, Refused: "the new configuration is not valid, the old one stays in force: " + err.Error(), Note: func(s *api.ConfigStatus) {
			s.Error, s.ErrorAt = err.Error(), now
			s.Failures++
		}}
	}
	next := configs.Config()
	changes := config.Diff(current, next).Live
	live := keys(changes)
	restart := keys(config.Diff(booted, next).Restart)
	level.Set(next.Log.Level)
	if len(live) > 0 {
		applied := make([]string, len(changes))
		for i, c := range changes {
			applied[i] = c.Brief()
		}
		log.Info("configuration reloaded", "applied", applied)
	}
	if len(restart) > 0 {
		log.Warn("restart the agent to apply the rest of the configuration", "keys", restart)
	}
	return Reloaded{Config: next, Live: live, Note: func(s *api.ConfigStatus) {
		s.Loaded, s.Error, s.ErrorAt = now, "", time.Time{}
		s.Restart = restart
		s.Reloads++
	}}
}

func keys(changes []config.Change) []string {
	out := make([]string, len(changes))
	for i, c := range changes {
		out[i] = c.Key
	}
	return out
}
