package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// Options say who is asked for what, and how often.
type Options struct {
	Targets  []string      // address:port of the VIPs, asked in turn
	Hosts    []string      // names of the sites, asked in turn
	Held     int           // connections that are kept
	Every    time.Duration // from one request on a held connection to the next, about
	Fresh    int           // connections a second that are made for one request
	Patience time.Duration // for an answer, and for a connection
}

// Load runs until it is stopped. The zero value is of use once.
type Load struct {
	opts   Options
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	report Report
}

// Start begins; connections are opened over a second.
func (l *Load) Start(opts Options) {
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	l.opts = opts
	for i := range opts.Held {
		l.done.Go(func() { l.keep(ctx, i) })
	}
	if opts.Fresh > 0 {
		l.done.Go(func() { l.renew(ctx) })
	}
}

// Stop ends all connections and returns what there was.
func (l *Load) Stop() Report {
	l.cancel()
	l.done.Wait()
	return l.Report()
}

// Report is of all so far.
func (l *Load) Report() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.report
	r.Ends, r.Failed = slices.Clone(r.Ends), slices.Clone(r.Failed)
	return r
}

func (l *Load) with(f func(*Report)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.report)
}

// keep holds one connection after the other, the i-th.
func (l *Load) keep(ctx context.Context, i int) {
	sleep(ctx, rand.N(time.Second))
	for ctx.Err() == nil {
		if err := l.hold(ctx, i); err != nil {
			sleep(ctx, l.opts.Every) // what is refused is not made again at once
		}
	}
}

// hold is a connection's whole life; it returns how it ended, nil if its server had it end.
func (l *Load) hold(ctx context.Context, i int) error {
	start := time.Now()
	c, err := l.dial(ctx, i)
	if err != nil {
		return l.fail(ctx, i, "", err)
	}
	defer c.Close()
	if err := l.ask(c, start); err != nil {
		return l.fail(ctx, i, c.proxy, err)
	}
	l.with(func(r *Report) { r.Held++ })
	defer l.with(func(r *Report) { r.Held-- })
	for {
		if c.asked {
			return l.end(ctx, c, errIdle)
		}
		if err := c.pause(ctx, l.opts.Every*3/4+rand.N(l.opts.Every/2)); err != nil {
			return l.end(ctx, c, err)
		}
		if err := l.ask(c, time.Now()); err != nil {
			return l.end(ctx, c, err)
		}
	}
}

func (l *Load) dial(ctx context.Context, i int) (*conn, error) {
	host := l.opts.Hosts[i/len(l.opts.Targets)%len(l.opts.Hosts)]
	return dial(ctx, l.target(i), host, l.opts.Patience)
}

func (l *Load) target(i int) string { return l.opts.Targets[i%len(l.opts.Targets)] }

// ask is one request, and what is to be said of its answer.
func (l *Load) ask(c *conn, since time.Time) error {
	answer, err := c.get()
	if err != nil {
		return err
	}
	local, _, err := net.SplitHostPort(c.LocalAddr().String())
	l.with(func(r *Report) {
		r.Requests++
		r.Longest = max(r.Longest, time.Since(since))
		if answer.Client != local {
			r.WrongClient++
		}
	})
	return err
}

// end accounts for a connection that was held, and returns nil if its server had it end.
func (l *Load) end(ctx context.Context, c *conn, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	clean := errors.Is(err, errIdle)
	l.with(func(r *Report) {
		r.Ends = append(r.Ends, End{Target: c.target, Proxy: c.proxy, At: time.Now(), Asked: c.asked, Clean: clean, Why: err.Error()})
	})
	if clean {
		return nil
	}
	return err
}

// fail accounts for a new connection that brought no answer.
func (l *Load) fail(ctx context.Context, i int, proxy string, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	l.with(func(r *Report) {
		r.Failed = append(r.Failed, Failure{Target: l.target(i), Proxy: proxy, At: time.Now(), Why: err.Error()})
	})
	return err
}

// renew makes a connection for one request again and again.
func (l *Load) renew(ctx context.Context) {
	tick := time.NewTicker(time.Second / time.Duration(l.opts.Fresh))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.done.Go(func() { l.once(ctx, i) })
		}
	}
}

// once is a connection for one request, with the time that opening it takes.
func (l *Load) once(ctx context.Context, i int) error {
	start := time.Now()
	c, err := l.dial(ctx, i)
	if err != nil {
		return l.fail(ctx, i, "", err)
	}
	defer c.Close()
	if err := l.ask(c, start); err != nil {
		return l.fail(ctx, i, c.proxy, err)
	}
	l.with(func(r *Report) { r.Fresh++ })
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
