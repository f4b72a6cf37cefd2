package ipam

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// ErrConflict says that an object is not what it was when it was read.
var ErrConflict = errors.New("the object has changed since it was read")

// Intent is an address that is about to be written into a Service's status. It is on the
// fence before, so that whoever leads next knows of a write that may still be under way.
type Intent struct {
	Service   string       `json:"service"`
	UID       string       `json:"uid"`
	Addresses []netip.Addr `json:"addresses"`
	At        time.Time    `json:"at"`

	// Version is that of the Service for which the write is meant. Once the Service has
	// another one, the write has either been done or can be done no more.
	Version string `json:"version"`
}

// Fence is the one object that every leader must have written before it writes any other.
type Fence struct {
	Leader  string // identity of who wrote it last
	Epoch   uint64 // counts leaders
	Intents []Intent
	Version string // opaque; of the object as read or written
}

// Store is the API server, as a Writer needs it.
type Store interface {
	// Fence reads the fence from the API server, not from a cache; zero if there is none.
	Fence(ctx context.Context) (Fence, error)
	// PutFence writes it if it is still of f.Version (empty: if there is none), else
	// ErrConflict, and returns it with its new version and all else as it was given.
	PutFence(ctx context.Context, f Fence) (Fence, error)
	// Claims reads those of all Services that are ours, not from a cache.
	Claims(ctx context.Context) ([]Claim, error)
	// Claim reads one, not from a cache; false where it is gone or not ours.
	Claim(ctx context.Context, service string) (Claim, bool, error)
	// PutStatus writes a decision into the Service's status if the Service is still of
	// c.Version, else ErrConflict; nothing where the status says it already. An error that
	// is not ErrConflict may mean that it was written, or will be.
	PutStatus(ctx context.Context, c Claim, d Decision) error
}
