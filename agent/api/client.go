package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// ErrDown means that no agent listens on the socket.
var ErrDown = errors.New("agent is not running")

// requestTimeout bounds one request, so that a stuck agent does not hang the
// command line.
const requestTimeout = 5 * time.Second

// Client asks an agent over its unix socket.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client for the agent at socket. It does not connect yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{
		socket: socket,
		http: &http.Client{
			Timeout:   requestTimeout,
			Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
		},
	}
}

// Status returns the agent's whole status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return fetch[Status](ctx, c, "/v1/status", nil)
}

// Services returns the services, those named or all.
func (c *Client) Services(ctx context.Context, names ...string) ([]Service, error) {
	return fetch[[]Service](ctx, c, "/v1/services", names)
}

// Backends returns the backends of the services named or of all.
func (c *Client) Backends(ctx context.Context, services ...string) ([]Backend, error) {
	return fetch[[]Backend](ctx, c, "/v1/backends", services)
}

// Explain follows one Service from its object to the routers. The error is a *NotFound
// where the agent knows nothing of it.
func (c *Client) Explain(ctx context.Context, namespace, name string) (Explanation, error) {
	return fetch[Explanation](ctx, c, "/v1/services/"+url.PathEscape(namespace)+"/"+url.PathEscape(name), nil)
}

// Names returns the namespace/name of every Service that the agent has something to say of.
func (c *Client) Names(ctx context.Context) ([]string, error) {
	return fetch[[]string](ctx, c, "/v1/names", nil)
}

// Pools returns how full the pools are.
func (c *Client) Pools(ctx context.Context) (PoolsStatus, error) {
	return fetch[PoolsStatus](ctx, c, "/v1/pools", nil)
}

// Verdicts returns the data path's counters.
func (c *Client) Verdicts(ctx context.Context) ([]maps.VerdictCount, error) {
	return fetch[[]maps.VerdictCount](ctx, c, "/v1/verdicts", nil)
}

// Peers returns the state of the BGP peers.
func (c *Client) Peers(ctx context.Context) ([]bgp.PeerState, error) {
	return fetch[[]bgp.PeerState](ctx, c, "/v1/bgp/peers", nil)
}

// Routes returns the announced paths.
func (c *Client) Routes(ctx context.Context) ([]bgp.Route, error) {
	return fetch[[]bgp.Route](ctx, c, "/v1/bgp/routes", nil)
}

// Announcements returns what became of each prefix.
func (c *Client) Announcements(ctx context.Context) ([]Announcement, error) {
	return fetch[[]Announcement](ctx, c, "/v1/bgp/announcements", nil)
}

// Config returns the configuration in force.
func (c *Client) Config(ctx context.Context) (config.Dump, error) {
	return fetch[config.Dump](ctx, c, "/v1/config", nil)
}

// fetch gets path and decodes the answer. The error wraps ErrDown where nobody
// listens, and carries the agent's own words where it answered with an error.
func fetch[T any](ctx context.Context, c *Client, path string, services []string) (T, error) {
	var v T
	u, err := url.Parse("http://penstock" + path)
	if err != nil {
		return v, err
	}
	u.RawQuery = url.Values{"service": services}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return v, err
	}
	return do[T](c, req)
}

// send posts a body as JSON, and decodes the answer as fetch does.
func send[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	var v T
	text, err := json.Marshal(body)
	if err != nil {
		return v, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://penstock"+path, bytes.NewReader(text))
	if err != nil {
		return v, err
	}
	return do[T](c, req)
}

func do[T any](c *Client, req *http.Request) (T, error) {
	var v T
	resp, err := c.http.Do(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return v, fmt.Errorf("%w (nobody listens on %s)", ErrDown, c.socket)
	}
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // the URL's host is made up, so leave it out
			if wrapped.Timeout() {
				err = fmt.Errorf("it listens, and has not answered for %s: it hangs, or the machine is short of processor time; "+
					"see its log, and whether the process is stopped", c.http.Timeout)
			}
		}
		return v, fmt.Errorf("ask the agent on %s: %w", c.socket, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return v, refusal(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return v, fmt.Errorf("decode the agent's %s: %w", req.URL.Path, err)
	}
	return v, nil
}

func refusal(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // what could be read is enough to say
	var f failure
	if json.Unmarshal(body, &f) == nil && f.Missing != nil {
		return f.Missing
	} else if f.Error != "" {
		return fmt.Errorf("agent: %s", f.Error)
	}
	return fmt.Errorf("agent answered %s: %s", resp.Status, body)
}
