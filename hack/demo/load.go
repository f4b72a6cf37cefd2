package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// url is an address of the site at a VIP.
func url(vip, path string) string {
	return "http://" + net.JoinHostPort(vip, "80") + path
}

// browser makes requests from the client, each over a connection of its own.
func (l *lab) browser() *http.Client {
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DialContext: l.client.DialContext, DisableKeepAlives: true},
	}
}

// ask makes one request and returns which server answered, after checking that it was the right site.
func ask(ctx context.Context, c *http.Client, vip, site string) (server string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url(vip, "/"), nil)
	if err != nil {
		return "", err
	}
	req.Host = site + ".example"
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	answer, ok := strings.CutPrefix(string(body), site+" on ")
	server, _, _ = strings.Cut(answer, ",")
	if !ok || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s: %q", url(vip, "/"), resp.Status, body)
	}
	return server, nil
}

// spread makes n requests, in both families and to all sites in turn, and counts who answered. None may fail.
func (l *lab) spread(n int) map[string]int {
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
				server, err := ask(l.ctx, browser, []string{vip4, vip6}[i%2], sites[i/2%2])
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

func (l *lab) startNewcomers() *newcomers {
	ctx, cancel := context.WithCancel(l.ctx)
	n := &newcomers{cancel: cancel, done: make(chan struct{})}
	browser := l.browser()
	go func() {
		defer close(n.done)
		for i := 0; ctx.Err() == nil; i++ {
			_, err := ask(ctx, browser, []string{vip6, vip4}[i%2], sites[i/2%2])
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
