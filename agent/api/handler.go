package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/penstock-lb/penstock/bgp"
	"github.com/penstock-lb/penstock/maps"
)

// Agent is what the server reads. All methods are called concurrently.
type Agent interface {
	Status() Status
	Services() ([]maps.ServiceStatus, error)
	Verdicts() ([]maps.VerdictCount, error)
	Peers() []bgp.PeerState
	Routes() []bgp.Route
	// Alive returns why the loop is stuck, or nil.
	Alive() error
}

func newMux(agent Agent, metrics http.Handler) *http.ServeMux {
	mux := newHealthMux(agent, metrics)
	get(mux, "/v1/status", func(*http.Request) (any, error) { return agent.Status(), nil })
	get(mux, "/v1/verdicts", func(*http.Request) (any, error) { return nonNil(agent.Verdicts()) })
	get(mux, "/v1/config", func(*http.Request) (any, error) { return inForce(agent) })
	get(mux, "/v1/bgp/peers", func(*http.Request) (any, error) { return nonNil(agent.Peers(), nil) })
	get(mux, "/v1/bgp/routes", func(*http.Request) (any, error) { return nonNil(agent.Routes(), nil) })
	get(mux, "/v1/bgp/announcements", func(*http.Request) (any, error) {
		return Announcements(agent.Status().VIPs, agent.Routes(), agent.Peers()), nil
	})
	get(mux, "/v1/services", func(r *http.Request) (any, error) { return nonNil(selected(agent, r)) })
	get(mux, "/v1/services/{namespace}/{name}", func(r *http.Request) (any, error) { return explained(agent, r) })
	get(mux, "/v1/names", func(*http.Request) (any, error) { return nonNil(Names(agent.Status()), nil) })
	get(mux, "/v1/pools", func(*http.Request) (any, error) { return pools(agent), nil })
	get(mux, "/v1/backends", func(r *http.Request) (any, error) {
		services, err := selected(agent, r)
		status := agent.Status()
		return Backends(services, status.ways()), err
	})
	return mux
}

// Picker is an Agent that can read the tables of some services at the cost of those.
type Picker interface {
	// ServicesOf reads what names mean, as in Select.
	ServicesOf(names ...string) ([]maps.ServiceStatus, error)
}

// selected returns the services that the query names, or all of them.
func selected(agent Agent, r *http.Request) ([]Service, error) {
	names := r.URL.Query()["service"]
	kernel, err := inTables(agent, names)
	if err != nil {
		return nil, err
	}
	return Select(Services(kernel, agent.Status()), names), nil
}

// inTables reads services, at least those that names mean.
func inTables(agent Agent, names []string) ([]maps.ServiceStatus, error) {
	if p, ok := agent.(Picker); ok && len(names) > 0 {
		return p.ServicesOf(names...)
	}
	return agent.Services()
}

// explained answers for one Service, or with names that the caller may have meant.
func explained(agent Agent, r *http.Request) (any, error) {
	service := r.PathValue("namespace") + "/" + r.PathValue("name")
	e, found, err := Explain(agent, service)
	if err != nil || found {
		return e, err
	}
	return nil, &NotFound{Service: service, Near: Near(service, Names(agent.Status()))}
}

func newHealthMux(agent Agent, metrics http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := agent.Alive(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if missing := agent.Status().NotReady; len(missing) > 0 {
			http.Error(w, "not ready:\n"+strings.Join(missing, "\n"), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	return mux
}

// get serves what read returns as JSON, and its error as {"error": …}.
func get(mux *http.ServeMux, path string, read func(*http.Request) (any, error)) {
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		v, err := read(r)
		var body []byte
		if err == nil {
			body, err = json.Marshal(v)
		}
		w.Header().Set("Content-Type", "application/json")
		if missing, ok := errors.AsType[*NotFound](err); ok {
			w.WriteHeader(http.StatusNotFound)
			body, _ = json.Marshal(failure{err.Error(), missing})
		} else if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			body, _ = json.Marshal(failure{Error: err.Error()}) // strings always encode
		}
		_, _ = w.Write(append(body, '\n')) // a reader that left is not our error
	})
}

type failure struct {
	Error   string    `json:"error"`
	Missing *NotFound `json:"missing,omitempty"`
}

// nonNil makes an empty list [] rather than null in JSON.
func nonNil[T any](list []T, err error) ([]T, error) {
	return nonNilList(list), err
}
