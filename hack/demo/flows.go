package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// answer is what a server says at /.
type answer struct {
	server string
	client netip.AddrPort // as the server sees it
}

func parseAnswer(body io.Reader, host string) (a answer, err error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return a, err
	}
	var gotHost, addr string
	var port uint16
	if _, err := fmt.Sscanf(string(text), "server=%s host=%s client=%s port=%d\n", &a.server, &gotHost, &addr, &port); err != nil {
		return a, fmt.Errorf("answer %q: %w", text, err)
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil || gotHost != host {
		return a, fmt.Errorf("answer %q, want one of %s", text, host)
	}
	a.client = netip.AddrPortFrom(ip, port)
	return a, nil
}

// holder keeps a number of HTTP connections to a port of the VIPs open, with a request now and then on each. The same
// server has to answer as long as it lives. A connection that ends is opened anew.
type holder struct {
	site   *site
	port   uint16
	cancel context.CancelFunc
	end    sync.WaitGroup
	dials  chan struct{}

	mu     sync.Mutex
	counts holderCounts
}

type holderCounts struct {
	open    int
	opened  int // ever
	closed  int // by their server, after it was told to end
	broken  []error
	alien   int // exchanges in which the server saw another client
	slowest time.Duration
}

// hold opens n connections and returns when each has been answered.
func (l *site) hold(n int, port uint16) *holder {
	ctx, cancel := context.WithCancel(l.ctx)
	h := &holder{site: l, port: port, cancel: cancel, dials: make(chan struct{}, 16)}
	for i := range n {
		h.end.Go(func() {
			for h.one(ctx, netip.AddrPortFrom(vips[i%len(vips)], port)) {
			}
		})
	}
	l.wait(20*time.Second, fmt.Sprintf("%d connections", n), func() error {
		if c := h.read(); c.open < n {
			return fmt.Errorf("%d are open, of %d some broke: %v", c.open, len(c.broken), c.broken)
		}
		return nil
	})
	return h
}

func (h *holder) read() holderCounts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts
}

func (h *holder) with(f func(c *holderCounts)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.counts)
}

// stop asks once more on every connection, on a new one where its server left, and returns what was seen.
func (h *holder) stop() holderCounts {
	h.cancel()
	h.end.Wait()
	return h.read()
}

// one is the life of a connection. It tells whether there is to be another one.
func (h *holder) one(ctx context.Context, vip netip.AddrPort) (again bool) {
	server, err := h.talk(ctx, vip)
	if err == nil {
		return false
	}
	if _, leaving := h.site.leaving.Load(server); leaving {
		h.with(func(c *holderCounts) { c.closed++ })
		return true
	}
	h.with(func(c *holderCounts) { c.broken = append(c.broken, fmt.Errorf("%s, held by %q: %w", vip, server, err)) })
	select { // what fails is not tried again at once
	case <-ctx.Done():
		return false
	case <-time.After(500 * time.Millisecond):
		return true
	}
}

// talk exchanges until ctx ends, and once more then. It returns the server that holds the connection.
func (h *holder) talk(ctx context.Context, vip netip.AddrPort) (server string, err error) {
	h.dials <- struct{}{}
	dialing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	conn, err := h.site.Client.DialContext(dialing, "tcp", vip.String())
	cancel()
	<-h.dials
	if err != nil {
		return "", err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for last := false; ; {
		start := time.Now()
		a, err := exchange(conn, in)
		if err != nil {
			return server, err
		}
		if server == "" {
			server = a.server
			h.with(func(c *holderCounts) { c.open, c.opened = c.open+1, c.opened+1 })
			defer h.with(func(c *holderCounts) { c.open-- })
		}
		if a.server != server {
			return server, fmt.Errorf("%s answered", a.server)
		}
		h.with(func(c *holderCounts) {
			c.slowest = max(c.slowest, time.Since(start))
			if a.client.String() != conn.LocalAddr().String() {
				c.alien++
			}
		})
		if last {
			return server, nil
		}
		select {
		case <-ctx.Done():
			last = true
		case <-time.After(100*time.Millisecond + rand.N(200*time.Millisecond)):
		}
	}
}

// exchange makes one request on an open connection.
func exchange(conn net.Conn, in *bufio.Reader) (a answer, err error) {
	const host = "shop.example"
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return a, err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		return a, err
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("answered %s", resp.Status)
	}
	return parseAnswer(resp.Body, host)
}
