package ipam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// ErrFenced says that another writer has taken the fence: this one must not write any more.
var ErrFenced = errors.New("another writer has taken over")

// ServiceError is one that costs only one Service.
type ServiceError struct {
	Service string
	Err     error
}

func (e *ServiceError) Error() string { return fmt.Sprintf("service %s: %v", e.Service, e.Err) }
func (e *ServiceError) Unwrap() error { return e.Err }

const (
	// maxBatch is how many Services one write of the fence stands for. Annotations of an
	// object have 256 KiB together, and an intent some 200 bytes, 600 at most.
	maxBatch = 300
	// maxConflicts is how often a Service that others keep changing is tried in one call.
	maxConflicts = 5
	// maxSeize is the same for the fence.
	maxSeize = 10
)

// Writer is the one writer of addresses; see the package's documentation for its protocol.
// It is not for concurrent use, but for Usage.
type Writer struct {
	store    Store
	identity string
	now      func() time.Time
	log      *slog.Logger

	pools  []Pool
	alloc  *Allocator          // nil while it does not lead
	fence  Fence               // as this Writer wrote it last
	posted map[string]bool     // what is on it, by Intent.key
	want   map[string]Decision // decided, and not written yet

	mu    sync.Mutex
	usage []Usage
}

// NewWriter makes a Writer that does not lead yet.
func NewWriter(store Store, identity string, pools []Pool, now func() time.Time, log *slog.Logger) *Writer {
	return &Writer{store: store, identity: identity, pools: pools, now: now, log: log}
}

// Lead takes the fence from whoever had it, adopts what all Services hold and what may still
// be written by others, and writes what follows. It gives the decisions that are in force
// then. With an error that is not a ServiceError it does not lead, and Lead is to be called
// again.
func (w *Writer) Lead(ctx context.Context) ([]Decision, error) {
	w.retire()
	if err := w.seize(ctx); err != nil {
		return nil, fmt.Errorf("take the fence: %w", err)
	}
	// Only now, as no other writer can announce anything new.
	claims, err := w.store.Claims(ctx)
	if err != nil {
		return nil, fmt.Errorf("read claims: %w", err)
	}
	w.alloc, w.want = New(w.pools), map[string]Decision{}
	w.decided(w.alloc.Adopt(claims, w.fence.Intents))
	w.log.Info("leading the assignment of addresses", "epoch", w.fence.Epoch, "services", len(claims), "openWrites", len(w.alloc.Flights()))
	return w.write(ctx)
}

// seize writes the fence with the intents that are on it.
func (w *Writer) seize(ctx context.Context) (err error) {
	for range maxSeize {
		var f Fence
		if f, err = w.store.Fence(ctx); err != nil {
			return err
		}
		f.Leader = w.identity
		f.Epoch++
		f, err = w.store.PutFence(ctx, f)
		if err == nil {
			w.post(f)
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}

// Reconcile reads the claims of Services, decides and writes. It gives the decisions that
// were written, of others too. A ServiceError in what it returns is to be tried again;
// after ErrFenced, nothing can be done but Lead.
func (w *Writer) Reconcile(ctx context.Context, services []string) ([]Decision, error) {
	if w.alloc == nil {
		return nil, ErrFenced
	}
	var errs []error
	for _, s := range services {
		if err := w.refresh(ctx, s); err != nil {
			errs = append(errs, &ServiceError{s, err})
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	done, err := w.write(ctx)
	return done, errors.Join(append(errs, err)...)
}

// SetPools replaces the pools, and writes what follows if it leads.
func (w *Writer) SetPools(ctx context.Context, pools []Pool) ([]Decision, error) {
	w.pools = pools
	if w.alloc == nil {
		return nil, nil
	}
	w.decided(w.alloc.SetPools(pools))
	return w.write(ctx)
}

// Usage tells how full the pools are; nothing while it does not lead.
func (w *Writer) Usage() []Usage {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.usage)
}

// refresh reads a claim and decides.
func (w *Writer) refresh(ctx context.Context, service string) error {
	c, ours, err := w.store.Claim(ctx, service)
	switch {
	case err != nil:
		return fmt.Errorf("read claim: %w", err)
	case ours:
		w.decided(w.alloc.Update(c))
	default:
		delete(w.want, service)
		w.decided(w.alloc.Delete(service))
	}
	return nil
}

func (w *Writer) decided(decisions []Decision) {
	for _, d := range decisions {
		w.want[d.Service] = d
	}
	w.count()
}

// count keeps Usage up to date.
func (w *Writer) count() {
	var usage []Usage
	if w.alloc != nil {
		usage = w.alloc.Usage()
	}
	w.mu.Lock()
	w.usage = usage
	w.mu.Unlock()
}

// retire ends this Writer's term.
func (w *Writer) retire() {
	w.alloc, w.want = nil, nil
	w.count()
}
