package control

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/tenure"
)

// Tenant knows whether its pod is to come back.
type Tenant interface {
	// Tenure says what it means that this agent is told to end. It takes some seconds.
	Tenure(ctx context.Context) tenure.Verdict
	// TenureWarnings says what is wrong with what decides, where an end for good takes so long.
	TenureWarnings(needs time.Duration) []string
}

// Outcome says what an agent is to do that is told to end; cluster may be nil.
func Outcome(ctx context.Context, cfg *config.Config, cluster Tenant) tenure.Verdict {
	switch {
	case cfg.Shutdown == config.ShutdownRestart:
		return tenure.Verdict{Outcome: tenure.Restart, Why: "shutdown is restart"}
	case cfg.Shutdown == config.ShutdownDrain:
		return tenure.Verdict{Outcome: tenure.Drain, Why: "shutdown is drain"}
	case cluster == nil:
		return tenure.Verdict{Outcome: tenure.Restart, Why: "there is no API server to ask for a DaemonSet"}
	}
	return cluster.Tenure(ctx)
}

// TenureWarnings says what keeps an end for good from being one, which takes so long beside
// drainTimeout; cluster may be nil.
func TenureWarnings(cfg *config.Config, cluster Tenant, margin time.Duration) []string {
	if cluster == nil || cfg.Shutdown != config.ShutdownAuto {
		return nil
	}
	return cluster.TenureWarnings(cfg.DrainTimeout + margin)
}

// ForgetTimeout bounds how long an agent that leaves for good tries to say so.
const ForgetTimeout = 5 * time.Second

// Forget takes back what an agent published on its Node.
func Forget(ctx context.Context, cluster interface{ Forget(context.Context) error }) error {
	ctx, cancel := context.WithTimeout(ctx, ForgetTimeout)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		err := cluster.Forget(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// RemoveFiles removes what an agent that has left for good remembered for its next start, of
// which the flows are gone.
func RemoveFiles(cfg *config.Config) error {
	files := []string{cfg.Source.Copy}
	if cfg.Role == config.RoleLB {
		files = append(files, cfg.Source.History, cfg.DrainFile())
	}
	var errs []error
	for _, file := range files {
		if file == "" {
			continue
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
