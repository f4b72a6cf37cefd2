package maps

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/penstock-lb/penstock/bpf"
)

// sources are the source ranges in the kernel, of all services. A range that goes stays
// for as long as a program may run that has read that its service is restricted: the
// client may be of a range that has come instead, or the service open by now.
type sources struct {
	used  uint32                 // entries
	gone  map[bpf.SourceKey]bool // entries that nobody wants
	ids   []uint32               // numbers of services that are gone, but some of those entries are of them
	limit uint32
}

func newSources(limit uint32) sources {
	return sources{gone: make(map[bpf.SourceKey]bool), limit: limit}
}

// isSource says whether clients of a family can be in the range.
func isSource(p netip.Prefix, is4 bool) bool {
	if !p.IsValid() {
		return false
	}
	mapped := p.Addr().Is4In6() && p.Bits() >= 96
	return (p.Addr().Is4() || mapped) == is4
}

// sourceKeys are the entries that a service is to have.
func sourceKeys(s Service, id uint32) map[bpf.SourceKey]bool {
	keys := make(map[bpf.SourceKey]bool, len(s.Sources))
	if s.Restricted {
		for _, p := range s.Sources {
			keys[sourceKey(p, id)] = true
		}
	}
	return keys
}

// roomForSources makes sure that all ranges find a place, before the first one takes it.
func (t *Tables) roomForSources(s *service, want map[bpf.SourceKey]bool) error {
	more := uint32(0)
	for key := range want {
		if !s.sources[key] && !t.sources.gone[key] {
			more++
		}
	}
	if free := t.sources.limit - t.sources.used; more > free {
		return fmt.Errorf("%d more source ranges, and beside those of before there is room for %d of %d:"+
			" raise datapath.maxSourceRanges", more, free, t.sources.limit)
	}
	return nil
}

// addSources brings in what is new, before packets are told to look.
func (t *Tables) addSources(s *service, want map[bpf.SourceKey]bool) error {
	for key := range want {
		if s.sources[key] {
			continue
		}
		if t.sources.gone[key] {
			delete(t.sources.gone, key)
		} else {
			if err := t.m.sources.Put(key, bpf.Source{}); err != nil {
				return fmt.Errorf("source range %s: %w", sourceOf(key), err)
			}
			t.sources.used++
		}
		s.sources[key] = true
	}
	return nil
}

// retireSources notes the ranges that are not wanted any more.
func (t *Tables) retireSources(s *service, want map[bpf.SourceKey]bool) {
	for key := range s.sources {
		if !want[key] {
			delete(s.sources, key)
			t.sources.gone[key] = true
		}
	}
}

// clearSources removes those that no program can be about to ask for, and then gives
// back the numbers of their services.
func (t *Tables) clearSources() error {
	var errs []error
	for key := range t.sources.gone {
		if err := ignoreMissing(t.m.sources.Delete(key)); err != nil {
			errs = append(errs, fmt.Errorf("remove source range %s: %w", sourceOf(key), err))
			continue
		}
		delete(t.sources.gone, key)
		t.sources.used--
	}
	t.freeIDs()
	return errors.Join(errs...)
}

// freeIDs gives back the numbers of services that are gone, when nobody can inherit
// source ranges with them.
func (t *Tables) freeIDs() {
	if len(t.sources.gone) == 0 {
		t.freed.ids = append(t.freed.ids, t.sources.ids...)
		t.sources.ids = nil
	}
}

func (t *Tables) adoptSources() error {
	var stray []bpf.SourceKey
	var key bpf.SourceKey
	var value bpf.Source
	it := t.m.sources.Iterate()
	for it.Next(&key, &value) {
		s := t.byID[key.Service]
		if s == nil || key.Prefixlen < bpf.SourceBits {
			stray = append(stray, key)
			continue
		}
		s.sources[key] = true
		t.sources.used++
	}
	return errors.Join(it.Err(), deleteAll(t.m.sources, stray))
}
