package maps

// freed is what is free, but not to be used again before all programs have ended that may be about it.
type freed struct {
	regions               []region
	indices, ids, tunnels []uint32

	quiet chan struct{} // closed when they have; nil during a Sync, and where nothing is free
}

func (t *Tables) hasFreed() bool {
	f := &t.freed
	return len(f.regions)+len(f.indices)+len(f.ids)+len(f.tunnels)+len(t.chains.freed) != 0
}

// awaitQuiet begins to wait for them, at the end of a Sync: most of the time that is over when the next
// one comes.
func (t *Tables) awaitQuiet() {
	if !t.hasFreed() {
		return
	}
	quiet := make(chan struct{})
	t.freed.quiet = quiet
	go func() {
		t.quiesce()
		close(quiet)
	}()
}

// reuse gives back what became free in earlier Syncs, or in this one.
func (t *Tables) reuse() {
	f := &t.freed
	if !t.hasFreed() {
		return
	}
	if f.quiet != nil {
		<-f.quiet
		f.quiet = nil
	} else {
		t.quiesce()
	}
	t.chains.reuse()
	for _, i := range f.tunnels {
		t.tunnels.indices.put(i)
	}
	for _, g := range f.regions {
		t.regions.put(g)
	}
	for _, i := range f.indices {
		t.indices.put(i)
	}
	for _, id := range f.ids {
		t.ids.put(id)
	}
	f.regions, f.indices, f.ids, f.tunnels = nil, nil, nil, nil
}
