package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/maps"
)

// Agent is what is shown. All methods are called concurrently.
type Agent interface {
	Status() api.Status
	Services() ([]maps.ServiceStatus, error)
	Verdicts() ([]maps.VerdictCount, error)
}

// Handler serves an agent's metrics, with those of the process and of Go.
func Handler(agent Agent) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		New(agent),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// collector reads the agent at each scrape.
type collector struct{ agent Agent }

// New returns a collector of all that starts with penstock_.
func New(agent Agent) prometheus.Collector { return collector{agent} }

// Describe sends every descriptor.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect sends what can be read. Counters that cannot be read are missing and
// counted in penstock_scrape_errors, the rest is there.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	status := c.agent.Status()
	e := emitter{ch}
	e.build(status)
	e.loop(status)
	e.datapath(status)
	e.bgp(status)
	e.vips(status)
	e.drain(status)
	e.tunnels(status.Tunnels)
	e.ingress(status)
	e.cluster(status)
	if a, ok := c.agent.(api.Allocator); ok && status.Source.API != nil {
		e.pools(a.Pools())
	}
	failed := 0
	if status.Datapath.Loaded {
		if verdicts, err := c.agent.Verdicts(); err == nil {
			e.verdicts(verdicts)
		} else {
			failed++
		}
		if services, err := c.agent.Services(); err == nil {
			e.backends(services)
		} else {
			failed++
		}
	}
	e.gauge(scrapeErrors, float64(failed))
}
