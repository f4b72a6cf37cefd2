package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// write brings what was decided to the API server, batch by batch, with all that follows
// from it: an address that one Service has given up is another's only after that was
// written.
func (w *Writer) write(ctx context.Context) (done []Decision, err error) {
	var errs []error
	conflicts := map[string]int{}
	for len(w.want) > 0 {
		batch := slices.Sorted(maps.Keys(w.want))
		batch = batch[:min(len(batch), maxBatch)]
		errs = append(errs, w.freshen(ctx, batch)...)
		if err := w.announce(ctx, batch); err != nil {
			return done, errors.Join(append(errs, err)...)
		}
		if d, decided := w.want[batch[0]]; decided && !w.announced(d) {
			return done, errors.Join(append(errs, fmt.Errorf("write the fence: it does not hold the write of service %s", batch[0]))...)
		}
		for _, service := range batch {
			// What was decided anew meanwhile has to be announced first: in the next round.
			d, decided := w.want[service]
			if !decided || !w.announced(d) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return done, errors.Join(append(errs, err)...)
			}
			delete(w.want, service)
			switch err := w.put(ctx, d); {
			case err == nil:
				done = append(done, d)
			case errors.Is(err, ErrConflict) && conflicts[service] < maxConflicts:
				conflicts[service]++
				err = w.refresh(ctx, service)
				if err != nil {
					errs = append(errs, &ServiceError{service, err})
				}
			default:
				errs = append(errs, &ServiceError{service, err})
			}
		}
	}
	return done, errors.Join(errs...)
}

// freshen reads those claims again that were written since they were read, as the next
// write needs their version.
func (w *Writer) freshen(ctx context.Context, batch []string) (errs []error) {
	for _, service := range batch {
		if c, known := w.alloc.Claim(service); known && c.Version != "" {
			continue
		}
		err := w.refresh(ctx, service)
		if c, known := w.alloc.Claim(service); err == nil && known && c.Version == "" {
			err = errors.New("the store gives no version of it")
		}
		if err != nil {
			delete(w.want, service)
			errs = append(errs, &ServiceError{service, err})
		}
	}
	return errs
}

// announce puts on the fence which addresses are about to be written, and all that may
// still be under way. If it fails, none of them was begun.
func (w *Writer) announce(ctx context.Context, batch []string) error {
	fresh := false
	for _, service := range batch {
		if d, decided := w.want[service]; decided && !w.announced(d) {
			w.alloc.Flying(w.intent(d))
			fresh = true
		}
	}
	if !fresh {
		return nil
	}
	f := w.fence
	f.Intents = w.alloc.Flights()
	put, err := w.store.PutFence(ctx, f)
	if errors.Is(err, ErrConflict) {
		// It may be our own write whose answer was lost: an epoch has one writer.
		var now Fence
		if now, err = w.store.Fence(ctx); err != nil {
			return fmt.Errorf("read the fence: %w", err)
		}
		if now.Epoch != f.Epoch || now.Leader != f.Leader {
			w.retire()
			return fmt.Errorf("%w: %s, epoch %d", ErrFenced, now.Leader, now.Epoch)
		}
		f.Version = now.Version
		put, err = w.store.PutFence(ctx, f)
	}
	if err != nil {
		return fmt.Errorf("write the fence: %w", err)
	}
	w.post(put)
	return nil
}

func (w *Writer) intent(d Decision) Intent {
	c, _ := w.alloc.Claim(d.Service)
	return Intent{Service: d.Service, UID: c.UID, Addresses: d.Addresses, At: w.now(), Version: c.Version}
}

// post remembers what the fence says now.
func (w *Writer) post(f Fence) {
	w.fence, w.posted = f, make(map[string]bool, len(f.Intents))
	for _, i := range f.Intents {
		w.posted[i.key()] = true
	}
}

// announced tells whether a decision may be written: the fence has it, or no address changes.
func (w *Writer) announced(d Decision) bool {
	c, known := w.alloc.Claim(d.Service)
	return known && c.Version != "" && (slices.Equal(d.Addresses, c.Held) || w.posted[w.intent(d).key()])
}

func (i Intent) key() string { return fmt.Sprint(i.Service, i.UID, i.Version, i.Addresses) }

func (w *Writer) put(ctx context.Context, d Decision) error {
	c, _ := w.alloc.Claim(d.Service)
	if err := w.store.PutStatus(ctx, c, d); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	w.decided(w.alloc.Landed(d.Service, d.Addresses))
	return nil
}
