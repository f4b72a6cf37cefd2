package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/penstock-lb/penstock/test/lab"
)

// url is an address of a service.
func url(vip netip.Addr, port uint16, path string) string {
	return "http://" + netip.AddrPortFrom(vip, port).String() + path
}

// browser makes requests from the client, each over a connection of its own.
func (l *site) browser() *http.Client {
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DialContext: l.Client.DialContext, DisableKeepAlives: true},
	}
}

// ask makes one request and returns which pod answered, after checking whom it saw.
func ask(ctx context.Context, c *http.Client, vip netip.Addr) (server string, err error) {
	const host = "shop.example"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url(vip, webPort, "/"), nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	a, err := parseAnswer(resp.Body, host)
	if err == nil && a.client.Addr() != clientOf(vip) {
		err = fmt.Errorf("%s saw the client %s, want %s", a.server, a.client, clientOf(vip))
	}
	return a.server, err
}

// clientOf is the client's address in the VIP's family.
func clientOf(vip netip.Addr) netip.Addr {
	if vip.Is4() {
		return lab.Client4
	}
	return lab.Client6
}

// spread makes n requests, in both families in turn, and counts who answered. None may fail.
func (l *site) spread(n int) map[string]int {
	const parallel = 8
	var mu sync.Mutex
	var first error
	count := map[string]int{}
	work := make(chan int)
	var running sync.WaitGroup
	browser := l.browser()
	for range parallel {
		running.Go(func() {
			for i := range work {
				server, err := ask(l.ctx, browser, vips[i%2])
				mu.Lock()
				if err != nil && first == nil {
					first = err
				}
				count[server]++
				mu.Unlock()
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	running.Wait()
	if first != nil {
		l.Fatalf("%d of %d requests failed, first: %v", count[""], n, first)
	}
	return count
}

// newcomers opens connection after connection until stopped.
type newcomers struct {
	cancel context.CancelFunc
	done   chan struct{}
	total  int
	failed []error
}

func (l *site) startNewcomers() *newcomers {
	ctx, cancel := context.WithCancel(l.ctx)
	n := &newcomers{cancel: cancel, done: make(chan struct{})}
	browser := l.browser()
	go func() {
		defer close(n.done)
		for i := 0; ctx.Err() == nil; i++ {
			_, err := ask(ctx, browser, vips[i%2])
			if ctx.Err() != nil {
				return
			}
			n.total++
			if err != nil {
				n.failed = append(n.failed, err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return n
}

// stop returns how many requests were made and the errors of those that failed.
func (n *newcomers) stop() (total int, failed []error) {
	n.cancel()
	<-n.done
	return n.total, n.failed
}

// wrkResult is what matters of wrk's report.
type wrkResult struct {
	requests, failed int
	rate             float64
}

var (
	wrkTotal  = regexp.MustCompile(`(\d+) requests in`)
	wrkRate   = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkErrors = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// parseWrk reads a report. Lines about failures are only there if there are any.
func parseWrk(report string) (r wrkResult, err error) {
	total, rate := wrkTotal.FindStringSubmatch(report), wrkRate.FindStringSubmatch(report)
	if total == nil || rate == nil {
		return r, fmt.Errorf("no report of wrk: %q", report)
	}
	if r.requests, err = strconv.Atoi(total[1]); err != nil {
		return r, err
	}
	if r.rate, err = strconv.ParseFloat(rate[1], 64); err != nil {
		return r, err
	}
	for _, re := range []*regexp.Regexp{wrkErrors, wrkStatus} {
		found := re.FindStringSubmatch(report)
		for i := 1; i < len(found); i++ {
			n, err := strconv.Atoi(found[i])
			if err != nil {
				return r, err
			}
			r.failed += n
		}
	}
	return r, nil
}
