package churn

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// control talks to the holder. A Unix socket is reached from any network namespace.
type control struct{ client *http.Client }

func newControl(socket string) *control {
	return &control{&http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

func (c *control) open(tcp, udp int) error {
	body, err := json.Marshal(order{tcp, udp})
	if err != nil {
		return err
	}
	return c.do(http.MethodPost, "open", body, nil)
}

func (c *control) begin() error { return c.do(http.MethodPost, "begin", nil, nil) }

// killed says that a pod is no more, which UDP does not tell.
func (c *control) killed(pod string) error { return c.do(http.MethodPost, "gone/"+pod, nil, nil) }

func (c *control) report() (r Report, err error) {
	err = c.do(http.MethodGet, "report", nil, &r)
	return r, err
}

func (c *control) do(method, path string, body []byte, answer any) error {
	req, err := http.NewRequest(method, "http://holder/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("holder: %s %s: %s: %s", method, path, resp.Status, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}
