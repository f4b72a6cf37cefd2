package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/drain"
)

// Drainer is an Agent that can be drained.
type Drainer interface {
	Drain(ctx context.Context, r DrainRequest) (DrainStatus, error)
	Undrain(ctx context.Context) (DrainStatus, error)
}

// DrainRequest asks for a drain.
type DrainRequest struct {
	Reason  string  `json:"reason,omitempty"`         // for those who see the drain
	Timeout float64 `json:"timeoutSeconds,omitempty"` // for traffic to cease; 0: drainTimeout
	Force   bool    `json:"force,omitempty"`          // although nobody could take over
}

// longestReason and longestDrain bound a request.
const (
	longestReason = 256
	longestDrain  = 24 * time.Hour
)

// Check says what is wrong with a request.
func (r DrainRequest) Check() error {
	switch {
	case len(r.Reason) > longestReason:
		return fmt.Errorf("a reason of %d bytes: write at most %d", len(r.Reason), longestReason)
	case r.Timeout < 0 || r.Timeout > longestDrain.Seconds():
		return fmt.Errorf("a timeout of %gs: write one up to %s, or none for drainTimeout", r.Timeout, longestDrain)
	}
	return nil
}

// DrainStatus is how far a drain is.
type DrainStatus struct {
	Stage    drain.Stage `json:"stage"`
	Since    time.Time   `json:"since"`             // that it is in this stage
	Began    time.Time   `json:"began,omitzero"`    // the drain
	Deadline time.Time   `json:"deadline,omitzero"` // of gracefulShutdown: the routes go then at the latest
	Expired  bool        `json:"expired,omitempty"` // they went then, although traffic still arrived
	Asks     []drain.Ask `json:"asks"`              // what has the node drain
	// PacketsPerSecond for VIPs, lately.
	PacketsPerSecond float64 `json:"packetsPerSecond"`
	// Successor is an LB node that can take over, in the answer to a request.
	Successor string `json:"successor,omitempty"`
}

// By names who has the node drain.
func (s DrainStatus) By() string {
	var who []string
	for _, a := range s.Asks {
		who = append(who, a.String())
	}
	return strings.Join(who, "; ")
}

// String is one line on it.
func (s DrainStatus) String() string {
	return fmt.Sprintf("%s since %s, by %s", s.Stage, s.Since.UTC().Format(time.RFC3339), s.By())
}

// newControlMux is all of newMux and what changes something. It is for the unix socket alone,
// whose mode says who may: any user of the machine reaches a loopback address, and a browser
// that one sent there does too.
func newControlMux(agent Agent, metrics http.Handler) *http.ServeMux {
	mux := newMux(agent, metrics)
	post(mux, agent, "/v1/drain", func(ctx context.Context, d Drainer, r DrainRequest) (DrainStatus, error) {
		if err := r.Check(); err != nil {
			return DrainStatus{}, err
		}
		return d.Drain(ctx, r)
	})
	post(mux, agent, "/v1/undrain", func(ctx context.Context, d Drainer, _ struct{}) (DrainStatus, error) {
		return d.Undrain(ctx)
	})
	return mux
}

// errNoDrainer is an ingress node's answer.
var errNoDrainer = errors.New("this is an ingress node, which announces nothing; drain its pods with 'kubectl drain'")

// answerWithin leaves the client, which waits requestTimeout, the time to read the answer.
const answerWithin = requestTimeout - time.Second

// post serves what do makes of a JSON body, and its error as {"error": …}.
func post[R any](mux *http.ServeMux, agent Agent, path string, do func(context.Context, Drainer, R) (DrainStatus, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
		defer cancel()
		status, err := DrainStatus{}, errNoDrainer
		if d, ok := agent.(Drainer); ok {
			var request R
			decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10))
			decoder.DisallowUnknownFields()
			if err = decoder.Decode(&request); err != nil {
				err = fmt.Errorf("read the request: %w; send a JSON object", err)
			} else {
				status, err = do(ctx, d, request)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		body, _ := json.Marshal(status) // nothing in it fails
		if err != nil {
			w.WriteHeader(http.StatusConflict)
			body, _ = json.Marshal(failure{Error: err.Error()})
		}
		_, _ = w.Write(append(body, '\n')) // a reader that left is not our error
	})
}

// Drain has the node drain until Undrain.
func (c *Client) Drain(ctx context.Context, r DrainRequest) (DrainStatus, error) {
	return send[DrainStatus](ctx, c, "/v1/drain", r)
}

// Undrain ends what Drain began.
func (c *Client) Undrain(ctx context.Context) (DrainStatus, error) {
	return send[DrainStatus](ctx, c, "/v1/undrain", struct{}{})
}
