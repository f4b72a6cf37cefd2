package agent

import (
	"errors"
	"net/netip"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// split takes the errors of single services out of what Tables.Sync returned.
// The rest is about the tables as a whole.
func split(err error) (failed map[string]error, rest error) {
	failed = map[string]error{}
	rest = pick(err, func(e *maps.ServiceError) { failed[e.Service] = e.Err })
	return failed, rest
}

// pathErrors returns the errors of single paths in what Speaker.Sync returned.
func pathErrors(err error) map[netip.Prefix]error {
	failed := map[netip.Prefix]error{}
	_ = pick(err, func(e *bgp.PathError) { failed[e.Prefix] = e })
	return failed
}

// pick calls do with each E in a tree of joined and wrapped errors, and returns
// what is left without them.
func pick[E error](err error, do func(E)) error {
	if _, has := errors.AsType[E](err); !has {
		return err
	}
	//nolint:errorlint // this is the walk through a joined error that errors.As cannot do
	switch e := err.(type) {
	case E:
		do(e)
		return nil
	case interface{ Unwrap() []error }:
		var rest []error
		for _, child := range e.Unwrap() {
			rest = append(rest, pick(child, do))
		}
		return errors.Join(rest...)
	default:
		return pick(errors.Unwrap(err), do)
	}
}
