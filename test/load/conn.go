package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// conn is one connection to a VIP, and what is known of its far end.
type conn struct {
	net.Conn
	in       *bufio.Reader
	target   string
	host     string
	proxy    string
	asked    bool // the last answer said that it will be closed
	patience time.Duration
}

// dial opens a connection. TCP repeats a lost SYN after 1, 3 and 7 seconds.
func dial(ctx context.Context, target, host string, patience time.Duration) (*conn, error) {
	d := net.Dialer{Timeout: patience, KeepAlive: -1}
	c, err := d.DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", brief(err))
	}
	return &conn{Conn: c, in: bufio.NewReader(c), target: target, host: host, patience: patience}, nil
}

// errIdle is the end of a connection of which nothing of an answer had come.
var errIdle = errors.New("closed before an answer began")

// get asks for the site's page. The first answer says which proxy has the connection.
func (c *conn) get() (answer Answer, err error) {
	if err := c.SetDeadline(time.Now().Add(c.patience)); err != nil {
		return answer, err
	}
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", c.host); err != nil {
		return answer, fmt.Errorf("send: %w", brief(err))
	}
	if _, err := c.in.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			return answer, errIdle
		}
		return answer, fmt.Errorf("wait: %w", brief(err))
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return answer, fmt.Errorf("read: %w", brief(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer, fmt.Errorf("read: %w", brief(err))
	}
	if resp.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("status %d: %.80q", resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, fmt.Errorf("answer %.80q: %w", body, err)
	}
	if answer.Host != c.host {
		return answer, fmt.Errorf("asked for %s, and %s answered", c.host, answer.Host)
	}
	if c.proxy != "" && answer.Proxy != c.proxy {
		return answer, fmt.Errorf("was of %s, and %s answered", c.proxy, answer.Proxy)
	}
	c.proxy, c.asked = answer.Proxy, resp.Close
	return answer, nil
}

// pause waits for the next turn, and notices meanwhile that the far end closes.
func (c *conn) pause(ctx context.Context, d time.Duration) error {
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })
	defer stop()
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	_, err := c.in.Peek(1)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case errors.Is(err, io.EOF):
		return errIdle
	case err != nil:
		return fmt.Errorf("idle: %w", brief(err))
	}
	return errors.New("idle: data that nobody asked for")
}

// brief leaves out the addresses, so that equal causes read alike.
func brief(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer")
	}
	if netErr := net.Error(nil); errors.As(err, &netErr) && netErr.Timeout() {
		return errors.New("no answer")
	}
	return err
}
