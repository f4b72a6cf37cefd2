package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is clients of the site at work, of which no request may fail. Half of them keep their
// connection for as long as the server lets them, the others make one for each request.
type load struct {
	t        testing.TB
	stop     context.CancelFunc
	done     sync.WaitGroup
	requests atomic.Int64
	mu       sync.Mutex
	failed   []string
	servers  map[string]int
}

const (
	clientsOfEach = 4                     // of each kind, for each VIP
	thinkTime     = 20 * time.Millisecond // of a client between requests
)

func (s *site) startLoad(vips []netip.Addr) *load {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{t: s.t, stop: stop, servers: map[string]int{}}
	s.t.Cleanup(func() { stop(); l.done.Wait() })
	for _, vip := range vips {
		for _, keep := range []bool{true, false} {
			for range clientsOfEach {
				l.done.Go(func() { l.client(ctx, s, vip, keep) })
			}
		}
	}
	s.wait("the load", func() error {
		if l.requests.Load() == 0 {
			return errors.New("no request yet")
		}
		return nil
	})
	return l
}

func (l *load) client(ctx context.Context, s *site, vip netip.Addr, keep bool) {
	transport := &http.Transport{
		DisableKeepAlives: !keep,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := s.Client.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &strict{conn, l}, nil
		},
	}
	defer transport.CloseIdleConnections()
	for ctx.Err() == nil {
		start := time.Now()
		body, err := get(ctx, transport, vip, 80)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.fail("request to %s, kept alive %t, after %s: %v", vip, keep, time.Since(start).Round(time.Millisecond), err)
		}
		l.requests.Add(1)
		l.answered(body)
		select {
		case <-time.After(thinkTime):
		case <-ctx.Done():
		}
	}
}

// get makes one request.
func get(ctx context.Context, transport http.RoundTripper, vip netip.Addr, port uint16) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+netip.AddrPortFrom(vip, port).String()+"/app", nil)
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", resp.Status)
	}
	return string(body), err
}

// strict sees connections break that the HTTP client would not tell of, because it makes a
// new one and tries again.
type strict struct {
	net.Conn
	l *load
}

func (c *strict) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		c.l.fail("connection from %s to %s: %v", c.LocalAddr(), c.RemoteAddr(), err)
	}
	return n, err
}

func (l *load) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (l *load) answered(body string) {
	var name string
	if _, err := fmt.Sscanf(body, "server=%s", &name); err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.servers[name]++
}

// Total is how many requests there were so far.
func (l *load) Total() int64 { return l.requests.Load() }

// Seen tells whether a pod has answered.
func (l *load) Seen(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.servers[name] > 0
}

// Check ends the load and fails the test for each failed request, the first few of which it shows.
func (l *load) Check() {
	l.t.Helper()
	l.stop()
	l.done.Wait()
	l.t.Logf("%d requests, %d failed, by %v", l.Total(), len(l.failed), l.servers)
	if len(l.failed) > 0 {
		l.t.Errorf("%d of %d requests failed, the first ones:", len(l.failed), l.Total())
		for _, f := range l.failed[:min(10, len(l.failed))] {
			l.t.Error(f)
		}
	}
}
