// Package ipam decides which addresses Services have, and writes them so that no crash, no
// second leader and no lost answer gives one address to two Services, loses one, or moves
// one that nobody asked to move.
//
// # What a Service gets
//
// The status of Services is the ledger; there is no other. An Allocator adopts what it says
// before it gives anything away. An address moves only if its Service asks for it: by
// another requested address, another pool, other families, or by ending the sharing of it.
// Pools that change, shrink or go take nothing away: what is outside is kept with a
// warning. A request that cannot be met is refused, and the Service keeps what it has until
// it can: an address that clients use is better than none.
//
// Two Services have one address only if both are of one namespace and have the same sharing
// key, and, at the time when the second one joined, different ports. Keys of two namespaces
// are two: whoever may write Services in one shall not get a port of an address that another
// one's clients trust by guessing a word. Who changes its key leaves. Who changes its
// ports so that they overlap keeps the address and is warned; the port stays with the older
// Service (package desired). Without a request, a Service with a key joins others that have
// it, where its ports allow. At most 64 have one address; the next one gets another, or is
// refused if it asks for that one. More that have it already keep it. Of two that turn out
// to hold one address without agreeing, as the key was changed while nobody led, the older
// one keeps it.
//
// Restrictions of a pool count when an address is given, and later only for a warning. So
// does the pool annotation for a Service that is adopted: whether the annotation has changed
// or the pools have, its status does not say, and an address that stays is the smaller harm.
// A selector of namespaces lets nobody in whose namespace is not known yet.
//
// Addresses are given in ascending order; those that were freed come last, the longest free
// one first, as clients may still know them by their former names. Of those freed that were
// never reached in that order, some thousands are remembered. Who waits is served in the
// order of creation.
//
// # The protocol of the one writer
//
// An election alone does not keep a leader that was paused from writing later. So:
//
//  1. Who begins to lead writes the fence, one object, under the version that it read, with
//     an epoch of its own. Whatever an earlier leader writes to the fence after that fails.
//  2. Before a Service's addresses are written, they are on the fence, as an intent with
//     the Service's version. One write of the fence stands for many Services.
//  3. The write of the status is conditioned on that version.
//  4. An address that a Service gives up is free once the status without it is written.
//
// After 1, the new leader reads all Services. An intent whose Service has another version
// than it says is over: either it was written, and the status says so, or it never will be.
// One whose Service still has that version may be written at any time; the new leader takes
// it for granted and writes the same, under the same version, so that it happens once.
// Writes whose answer was lost are treated alike: what they may write stays taken until the
// Service has been read with another version. Writes that change no address need no intent.
//
// A Service that is gone, or no longer ours, frees what it had.
package ipam
