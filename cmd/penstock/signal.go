package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// endAtOnce ends the process by the first signal that comes after ctx has ended,
// which the first one did: whoever asks twice does not want to wait for a drain.
// It returns without one when done ends.
func endAtOnce(ctx, done context.Context, socket string, log *slog.Logger, exit func(code int)) {
	select {
	case <-ctx.Done():
	case <-done.Done():
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	select {
	case s := <-signals:
		log.Warn("second signal: ending at once, the data path forwards on", "signal", s)
		_ = os.Remove(socket) // the next agent would remove it as well
		exit(exitError)
	case <-done.Done():
	}
}
