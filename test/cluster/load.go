package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// How many clients of each kind there are. All but the first hold connections.
const (
	freshClients = 8 // make a connection for each request
	keptClients  = 120
	streams      = 60
	lineClients  = 120

	holders  = keptClients + streams + lineClients
	patience = 8 * time.Second        // for one answer: TCP repeats a SYN after 1, 3 and 7 s
	slow     = 900 * time.Millisecond // a packet was lost: TCP repeats a SYN after a second
)

// Load is clients at work, half of them by IPv6, from many addresses. Connections that end are made anew.
//
// A connection is broken when it ends before its pod had to end it. The pod is known, as
// each answer names it, and so is since when it ends, from the API server. What a pod's end is
// differs: the L7 tier takes requests as before for a while, and then ends when they are
// answered; a line server keeps its connections until it is killed.
type Load struct {
	site  *Site
	pods  *lives
	web   []netip.Addr
	lines []netip.Addr
	stop  context.CancelFunc
	watch func() // pods, anew
	done  sync.WaitGroup

	mu     sync.Mutex
	report Report
	held   int
}

// Report is what clients have seen.
type Report struct {
	Requests int       // answered
	Failed   []Failure // requests without an answer
	Opened   int       // connections of those that hold them
	Closed   int       // on their pod's wish, or with it
	Broken   []Failure
	Errors   []Failure     // answers of the L7 tier that say it can't
	Longest  time.Duration // until an answer that came
	Connect  time.Duration // until a connection was there, of the longest
	Slow     []Failure     // connections that took longer than slow, by when they began
	Wrong    []string      // pods that saw another client, or changed
}

// Failure is one request or connection.
type Failure struct {
	At   time.Time
	What string
}

func (f Failure) String() string { return f.At.Format("15:04:05.000 ") + f.What }

// StartLoad starts all clients, and waits until all hold their connections.
func (s *Site) StartLoad(web, lines []netip.Addr) *Load {
	s.tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &Load{site: s, pods: newLives(), web: web, lines: lines, stop: stop}
	l.watch = func() { s.watchPods(ctx, l.pods) }
	l.watch()
	s.whole.Cleanup(l.Stop)
	start := func(n int, client func(context.Context, netip.Addr), vips []netip.Addr) {
		for i := range n {
			l.done.Go(func() {
				for ctx.Err() == nil {
					client(ctx, vips[i%len(vips)])
				}
			})
		}
	}
	start(freshClients, l.fresh, web)
	start(keptClients, l.kept, web)
	start(streams, l.stream, web)
	start(lineClients, l.line, lines)
	s.Wait("the load", l.whole)
	return l
}

// Stop ends the load.
func (l *Load) Stop() {
	l.stop()
	l.done.Wait()
}

// whole is nil when all connections are open.
func (l *Load) whole() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held < holders {
		return fmt.Errorf("%d of %d connections are open; failed: %v", l.held, holders, l.report.Failed)
	}
	return nil
}

// Begin waits until all connections are open and forgets what was.
func (l *Load) Begin() {
	l.site.tb.Helper()
	l.site.Wait("the load", l.whole)
	l.site.catchUp(l.pods)
	l.with(func(r *Report) { *r = Report{} })
}

// End gives what there was since [Load.Begin].
func (l *Load) End() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.report
	r.Failed, r.Errors, r.Broken, r.Slow = slices.Clone(r.Failed), slices.Clone(r.Errors), slices.Clone(r.Broken), slices.Clone(r.Slow)
	r.Wrong = slices.Clone(r.Wrong)
	return r
}

func (l *Load) with(f func(*Report)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.report)
}

// dial makes a connection from one of the client's addresses.
func (l *Load) dial(ctx context.Context, vip netip.Addr, port uint16) (net.Conn, error) {
	from := clientNets[0]
	if vip.Is6() {
		from = clientNets[1]
	}
	b := from.Addr().AsSlice()
	b[len(b)-1] = byte(1 + rand.N(250))
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: b}, Timeout: patience}
	var conn net.Conn
	err := l.site.Client.Do(func() (err error) {
		conn, err = d.DialContext(ctx, "tcp", netip.AddrPortFrom(vip, port).String())
		return err
	})
	return conn, err
}

func (l *Load) answered(start time.Time) {
	took := time.Since(start)
	l.with(func(r *Report) { r.Requests++; r.Longest = max(r.Longest, took) })
}

// connected notes how long a connection took, which is the part of a request that no pod has one in.
func (l *Load) connected(start time.Time, what string) {
	took := time.Since(start)
	l.with(func(r *Report) {
		r.Connect = max(r.Connect, took)
		if took > slow {
			r.Slow = append(r.Slow, Failure{start, fmt.Sprintf("%s took %s", what, took.Round(time.Millisecond))})
		}
	})
}

func (l *Load) failed(ctx context.Context, start time.Time, format string, args ...any) {
	if ctx.Err() != nil {
		return
	}
	what := fmt.Sprintf(format, args...) + fmt.Sprintf(", after %s", time.Since(start).Round(time.Millisecond))
	l.with(func(r *Report) { r.Failed = append(r.Failed, Failure{time.Now(), what}) })
	pause(ctx, 200*time.Millisecond)
}

// refused counts an answer that says that the L7 tier can't serve.
func (l *Load) refused(conn net.Conn, err error) {
	l.with(func(r *Report) {
		r.Errors = append(r.Errors, Failure{time.Now(), fmt.Sprintf("request from %s: %v", conn.LocalAddr(), err)})
	})
}

// hold counts a connection while it is open.
func (l *Load) hold() (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held++
	l.report.Opened++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.held--
	}
}

// lost is the end of a connection to a pod, or where none has answered yet a request that failed.
func (l *Load) lost(ctx context.Context, start time.Time, what, pod string, grace time.Duration, conn net.Conn, err error) {
	if pod == "" {
		l.failed(ctx, start, "%s from %s: %v", what, conn.LocalAddr(), err)
		return
	}
	l.ended(ctx, what, pod, grace, conn, err)
}

// ended judges the end of a connection to a pod that may end one when it has been ending for so long.
func (l *Load) ended(ctx context.Context, what, pod string, grace time.Duration, conn net.Conn, err error) {
	if ctx.Err() != nil {
		return
	}
	// The word that a pod is to end can take longer to come here than to the pod.
	if why := l.pods.ending(pod, grace, 2*time.Second); why != "" {
		l.with(func(r *Report) { r.Closed++ })
		return
	}
	l.with(func(r *Report) {
		r.Broken = append(r.Broken, Failure{time.Now(), fmt.Sprintf("%s from %s on %s: %v", what, conn.LocalAddr(), pod, err)})
	})
}

// seen checks what a pod says of the client and of itself.
func (l *Load) seen(conn net.Conn, client, pod, before string) {
	host, _, _ := net.SplitHostPort(conn.LocalAddr().String())
	if client == host && (before == "" || pod == before) {
		return
	}
	l.with(func(r *Report) {
		r.Wrong = append(r.Wrong, fmt.Sprintf("client %s was seen as %s by %s, before %s", host, client, pod, before))
	})
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d*3/4 + rand.N(d/2)):
	}
}

// check fails the test for what must not have been, and notes the row.
func (s *Site) check(what string, start time.Time, r Report, allowFailed bool) {
	s.tb.Helper()
	s.row(what, start, "%s", r)
	for _, f := range r.Slow[:min(10, len(r.Slow))] {
		s.tb.Logf("slow: %s", f)
	}
	if len(r.Failed) > 0 && !allowFailed || len(r.Broken) > 0 || len(r.Wrong) > 0 || len(r.Errors) > 0 && !allowFailed {
		s.tb.Errorf("%s: %s", what, r)
		for _, list := range [][]Failure{r.Failed, r.Errors, r.Broken} {
			for _, f := range list[:min(10, len(list))] {
				s.tb.Log(f)
			}
		}
		s.tb.Log(strings.Join(r.Wrong[:min(10, len(r.Wrong))], "\n"))
	}
}

func (r Report) String() string {
	text := fmt.Sprintf("%d requests, %d failed", r.Requests, len(r.Failed))
	if n := len(r.Failed); n > 0 {
		text += fmt.Sprintf(" within %s", r.Failed[n-1].At.Sub(r.Failed[0].At).Round(time.Millisecond))
	}
	if n := len(r.Errors); n > 0 {
		text += fmt.Sprintf(", %d refused by the L7 tier", n)
	}
	return text + fmt.Sprintf(", longest %s, to connect %s; of %d connections %d ended with their pod, %d broken",
		r.Longest.Round(time.Millisecond), r.Connect.Round(time.Millisecond), holders, r.Closed, len(r.Broken))
}
