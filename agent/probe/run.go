package probe

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// Run asks until ctx ends. Sockets are opened by the calling thread, in its network
// namespace, at first and whenever one is missing.
func (p *Prober) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	defer readers.Wait()
	defer p.closeAll()
	ticker := time.NewTicker(p.opts.Interval)
	defer ticker.Stop()
	for {
		p.open(ctx, &readers)
		select {
		case <-ctx.Done():
			return nil
		case <-p.kick:
			p.send(p.begin(time.Now(), true))
		case <-ticker.C:
			p.send(p.begin(time.Now(), false))
		}
	}
}

// probe is what goes to a node.
type probe struct {
	Target
	nonce nonce
}

// begin closes the round before for each node and begins the next; with fresh, only for
// the nodes that were never asked. While this process does not run no round ends, so that
// a pause of it counts as one, however long.
func (p *Prober) begin(now time.Time, fresh bool) []probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []probe
	moved := false
	for _, t := range p.tracks {
		before := t.State
		switch {
		case fresh && t.Sent > 0:
			continue
		case t.Sent > 0:
			t.close(now)
		}
		out = append(out, probe{t.Target, t.ask(now)})
		moved = p.note(t, before) || moved
	}
	if moved {
		p.settle()
	}
	return out
}

// note logs a node's new state and tells whether it is one.
func (p *Prober) note(t *track, before State) bool {
	if t.State == before {
		return false
	}
	level := slog.LevelInfo
	if t.State == Dead {
		level = slog.LevelWarn
	}
	p.log.Log(context.Background(), level, "ingress node", "node", t.Name, "address", t.Addr, "state", t.State, "before", before)
	return true
}

func (p *Prober) send(probes []probe) {
	for _, q := range probes {
		if err := p.sendOne(q); err != nil {
			p.mu.Lock()
			if t := p.tracks[q.Addr]; t != nil {
				t.sendFail = fmt.Sprintf("probes cannot be sent: %v", err)
			}
			p.mu.Unlock()
		}
	}
}

func (p *Prober) sendOne(q probe) error {
	p.mu.Lock()
	c, err := p.conns[q.Addr.Is6()], p.errs[q.Addr.Is6()]
	p.mu.Unlock()
	if c == nil {
		return err
	}
	return c.send(request(q.nonce), q.Source, netip.AddrPortFrom(q.Addr, p.opts.Port))
}

// read takes answers until c is closed.
func (p *Prober) read(c conn, ipv6 bool) {
	buf := make([]byte, 2*wireSize)
	for {
		n, from, err := c.receive(buf)
		if err != nil {
			p.lost(c, ipv6, err)
			return
		}
		if nonce, ok := parseAnswer(buf[:n]); ok && from.Port() == p.opts.Port {
			p.take(from.Addr().Unmap(), nonce, time.Now())
		}
	}
}

func (p *Prober) take(from netip.Addr, n nonce, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tracks[from]
	if t == nil {
		return
	}
	before := t.State
	if t.answer(n, now) && p.note(t, before) {
		p.settle()
	}
}

func compareNodes(a, b Node) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.Addr.Compare(b.Addr)) }
