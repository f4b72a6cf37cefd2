package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// What the pods do at their end, see testdata and helper/echo.go.
const (
	// The L7 tier ends idle connections after the first, and all after both.
	acceptGrace, requestGrace = 3 * time.Second, 10 * time.Second
	lineGrace                 = 8 * time.Second
)

var errStatus = errors.New("the L7 tier can't serve")

func anyHost() string { return []string{ingressHost, routeHost}[rand.N(2)] }

// request sends a request and reads the answer's head.
func request(w io.Writer, in *bufio.Reader, host, path, more string) (*http.Response, error) {
	if _, err := fmt.Fprintf(w, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", path, host, more); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(in, nil)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%w: %s", errStatus, resp.Status)
	}
	return resp, err
}

func page(w io.Writer, in *bufio.Reader, more string) (a Answer, closing bool, err error) {
	resp, err := request(w, in, anyHost(), "/", more)
	if resp == nil {
		return a, false, err
	}
	body, readErr := io.ReadAll(resp.Body)
	if err == nil {
		err = readErr
	}
	if err == nil {
		a, err = parseAnswer(string(body))
	}
	return a, resp.Close, err
}

// fresh makes one request on a connection of its own.
func (l *Load) fresh(ctx context.Context, vip netip.Addr) {
	start := time.Now()
	conn, err := l.dial(ctx, vip, 80)
	if err != nil {
		l.failed(ctx, start, "connect: %v", err)
		return
	}
	l.connected(start, fmt.Sprintf("a connection from %s to %s", conn.LocalAddr(), vip))
	defer conn.Close()
	_ = conn.SetDeadline(start.Add(patience))
	a, _, err := page(conn, bufio.NewReader(conn), "Connection: close\r\n")
	switch {
	case errors.Is(err, errStatus):
		l.refused(conn, err)
	case err != nil:
		l.failed(ctx, start, "request from %s: %v", conn.LocalAddr(), err)
		return
	default:
		l.seen(conn, a.For, a.By, "")
	}
	l.answered(start)
	pause(ctx, 50*time.Millisecond)
}

// kept makes a request about once a second on one connection.
func (l *Load) kept(ctx context.Context, vip netip.Addr) {
	start := time.Now()
	conn, err := l.dial(ctx, vip, 80)
	if err != nil {
		l.failed(ctx, start, "connect: %v", err)
		return
	}
	defer conn.Close()
	in, by := bufio.NewReader(conn), ""
	for {
		_ = conn.SetDeadline(start.Add(patience))
		a, closing, err := page(conn, in, "")
		switch {
		case errors.Is(err, errStatus):
			l.refused(conn, err)
		case err != nil:
			l.lost(ctx, start, "kept connection", by, acceptGrace, conn, err)
			return
		default:
			l.seen(conn, a.For, a.By, by)
			if by == "" {
				defer l.hold()()
				by = a.By
			}
		}
		l.answered(start)
		if closing {
			l.with(func(r *Report) { r.Closed++ })
			return
		}
		if pause(ctx, time.Second); ctx.Err() != nil {
			return
		}
		start = time.Now()
	}
}

// stream is one request whose answer never ends.
func (l *Load) stream(ctx context.Context, vip netip.Addr) {
	start := time.Now()
	conn, err := l.dial(ctx, vip, 80)
	if err != nil {
		l.failed(ctx, start, "connect: %v", err)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_ = conn.SetDeadline(start.Add(patience))
	resp, err := request(conn, bufio.NewReader(conn), anyHost(), "/stream", "")
	if errors.Is(err, errStatus) {
		l.refused(conn, err)
		return
	}
	if err != nil {
		l.failed(ctx, start, "stream from %s: %v", conn.LocalAddr(), err)
		return
	}
	by := ""
	for in := bufio.NewReader(resp.Body); ; {
		text, err := in.ReadString('\n')
		var a Answer
		if err == nil {
			a, err = parseAnswer(text)
		}
		if err != nil {
			l.lost(ctx, start, "stream", by, acceptGrace+requestGrace, conn, err)
			return
		}
		l.seen(conn, a.For, a.By, by)
		if by == "" {
			defer l.hold()()
			by = a.By
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
	}
}

// line asks a line server about once a second.
func (l *Load) line(ctx context.Context, vip netip.Addr) {
	start := time.Now()
	conn, err := l.dial(ctx, vip, 9000)
	if err != nil {
		l.failed(ctx, start, "connect to a line server: %v", err)
		return
	}
	defer conn.Close()
	in, pod := bufio.NewReader(conn), ""
	for n := 0; ctx.Err() == nil; n++ {
		start = time.Now()
		_ = conn.SetDeadline(start.Add(patience))
		_, err := fmt.Fprintln(conn, n)
		var text string
		if err == nil {
			text, err = in.ReadString('\n')
		}
		if err != nil {
			l.lost(ctx, start, "line connection", pod, lineGrace, conn, err)
			return
		}
		var name, client, got string
		text = strings.NewReplacer("pod=", "", "peer=", "", "line=", "").Replace(text)
		if _, err := fmt.Sscan(text, &name, &client, &got); err != nil || got != fmt.Sprint(n) {
			l.ended(ctx, "line connection", pod, lineGrace, conn, fmt.Errorf("asked %d, was answered %q", n, text))
			return
		}
		l.seen(conn, client, name, pod)
		if pod == "" {
			defer l.hold()()
			pod = name
		}
		l.answered(start)
		pause(ctx, time.Second)
	}
}
