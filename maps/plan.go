package maps

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// ErrIncomplete says that a partial Want has nothing to build on: since Open, or since
// a Sync that was cut off, none has been whole.
var ErrIncomplete = errors.New("a partial Sync, and none before it was whole")

// wishes is what is wanted, as far as a partial Sync has to know it of services that it
// does not name.
type wishes struct {
	frontends map[string][]Frontend // by service
	owners    map[Frontend]string   // the other way round
	undone    map[string]wish       // services that are not in the kernel as they are wanted
	leaving   map[string]bool       // services in the kernel that nobody wants
	stray     map[Frontend]bool     // those that could not be removed
}

// wish is a service, with the next hops that it was wanted with if that was in an
// earlier Sync.
type wish struct {
	Service
	hops map[netip.Addr]NextHop
}

func newWishes() wishes {
	return wishes{
		frontends: make(map[string][]Frontend),
		owners:    make(map[Frontend]string),
		undone:    make(map[string]wish),
		leaving:   make(map[string]bool),
		stray:     make(map[Frontend]bool),
	}
}

// plan is what a Sync looks at: everything, or what a partial Want names and what
// those before it could not do.
type plan struct {
	wishes    []wish          // to be brought into the kernel
	kept      map[string]bool // services that are refused, whose state of before stays
	frontends []Frontend      // that may have to go
}

// plan takes in what is wanted. The errors are of the services that can't be.
func (t *Tables) plan(want Want) (p plan, errs []error) {
	asked := make([]wish, len(want.Services))
	for i, s := range want.Services {
		asked[i].Service = s
	}
	maybe := want.Removed
	if want.Partial {
		asked = t.wishes.take(asked, want.Removed)
	} else {
		t.wishes = newWishes()
		maybe = slices.Collect(maps.Keys(t.services))
	}
	for _, name := range maybe {
		if t.services[name] != nil {
			t.wishes.leaving[name] = true
		}
	}
	p, errs = t.wishes.admit(asked, want)
	p.frontends = t.candidates(p, want.Partial)
	return p, errs
}

// take forgets what was wanted of the services that are asked for and of those that
// are removed, and appends those that are still to be done.
func (w *wishes) take(asked []wish, removed []string) []wish {
	named := make(map[string]bool, len(asked)+len(removed))
	for _, name := range removed {
		named[name] = true
		w.disown(name)
	}
	for _, s := range asked {
		named[s.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(w.undone)) {
		if !named[name] {
			asked = append(asked, w.undone[name])
		}
	}
	for _, s := range asked {
		w.disown(s.Name)
	}
	return asked
}

func (w *wishes) disown(name string) {
	for _, f := range w.frontends[name] {
		if w.owners[f] == name {
			delete(w.owners, f)
		}
	}
	delete(w.frontends, name)
	delete(w.undone, name)
}

// admit sorts out the services that can be, and has an error for each other one.
func (w *wishes) admit(asked []wish, want Want) (p plan, errs []error) {
	p.kept = make(map[string]bool)
	names := make(map[string]bool, len(asked))
	for _, s := range asked {
		if !want.Partial {
			s.Service = s.normal()
		}
		err := s.validate()
		if err == nil && names[s.Name] {
			err = errors.New("two services have this name")
		}
		if err == nil {
			err = w.free(s.Frontends)
		}
		delete(w.leaving, s.Name)
		if err != nil {
			errs = append(errs, &ServiceError{s.Name, err})
			p.kept[s.Name] = true
			if !names[s.Name] {
				w.later(s, want)
			}
			continue
		}
		names[s.Name] = true
		w.frontends[s.Name] = slices.Clone(s.Frontends)
		for _, f := range s.Frontends {
			w.owners[f] = s.Name
		}
		p.wishes = append(p.wishes, s)
	}
	return p, errs
}

// free says whose a frontend is that another service is to have.
func (w *wishes) free(frontends []Frontend) error {
	for _, f := range frontends {
		if other, taken := w.owners[f]; taken {
			return fmt.Errorf("frontend %s belongs to service %s", f, other)
		}
	}
	return nil
}

// later notes what the next Sync has to try again.
func (w *wishes) later(s wish, want Want) {
	hops := make(map[netip.Addr]NextHop)
	for _, b := range s.Backends {
		if hop, ok := s.hop(b, want); ok {
			hops[b.Addr.Addr()] = hop
		}
	}
	s.Service, s.hops = s.normal(), hops // a copy
	w.undone[s.Name] = s
}

// hop is the way to a backend.
func (s wish) hop(b Backend, want Want) (NextHop, bool) {
	hop, ok := want.NextHops[b.Addr.Addr()]
	if !ok {
		hop, ok = s.hops[b.Addr.Addr()]
	}
	return hop, ok
}

// candidates are the frontends in the kernel that the plan may take from somebody.
func (t *Tables) candidates(p plan, partial bool) []Frontend {
	if !partial {
		return slices.SortedFunc(maps.Keys(t.frontends), compareFrontends)
	}
	set := maps.Clone(t.wishes.stray)
	add := func(name string) {
		if s := t.services[name]; s != nil {
			for _, f := range s.frontends {
				set[f] = true
			}
		}
	}
	for _, s := range p.wishes {
		add(s.Name)
		for _, f := range s.Frontends {
			set[f] = true
		}
	}
	for _, names := range []map[string]bool{p.kept, t.wishes.leaving} {
		for name := range names {
			add(name)
		}
	}
	return slices.SortedFunc(maps.Keys(set), compareFrontends)
}
