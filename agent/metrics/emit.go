package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/maps"
)

// emitter turns what was read into metrics.
type emitter struct{ ch chan<- prometheus.Metric }

func (e emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (e emitter) counter(d *prometheus.Desc, v uint64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (e emitter) truth(d *prometheus.Desc, v bool, labels ...string) {
	f := 0.0
	if v {
		f = 1
	}
	e.gauge(d, f, labels...)
}

// timestamp leaves out what has not happened yet.
func (e emitter) timestamp(d *prometheus.Desc, t time.Time) {
	if !t.IsZero() {
		e.gauge(d, float64(t.UnixNano())/1e9)
	}
}

func (e emitter) build(s api.Status) {
	e.gauge(buildInfo, 1, s.Version)
	e.timestamp(startTime, s.Since)
	for _, is := range []api.State{api.Starting, api.Running, api.Draining, api.Stopped} {
		e.truth(state, s.State == is, string(is))
	}
	e.truth(ready, len(s.NotReady) == 0)
}

func (e emitter) loop(s api.Status) {
	e.truth(sourceSynced, s.Source.Synced)
	e.gauge(sourceProblems, float64(len(s.Source.Problems)))
	e.truth(reloadSuccess, s.Config.Error == "")
	e.timestamp(reloadTimestamp, s.Config.Loaded)
	e.gauge(restartNeeded, float64(len(s.Config.Restart)))
	e.ch <- prometheus.MustNewConstSummary(syncDuration, s.Sync.Passes, s.Sync.TotalDuration, nil)
	e.counter(syncErrors, s.Sync.Errors)
	e.timestamp(syncTimestamp, s.Sync.At)
}

func (e emitter) datapath(s api.Status) {
	e.truth(datapathSurvived, s.Datapath.Survived)
	if s.Datapath.Loaded && s.Ingress == nil {
		e.gauge(flows, float64(s.Datapath.Flows.Entries))
		e.gauge(flowsCapacity, float64(s.Datapath.Flows.Capacity))
	}
	if s.Datapath.Loaded {
		p, origin := s.Datapath.Program, "binary"
		if p.Compiled {
			origin = "compiled"
		}
		e.gauge(programInfo, 1, origin, p.Sources, p.Digest, strconv.FormatBool(p.Changed))
	}
	if u := s.Datapath.Usage; s.Datapath.Loaded && s.Ingress == nil {
		for table, fill := range map[string]maps.Fill{
			"rows": u.Rows, "backends": u.Backends, "frontends": u.Frontends, "sources": u.Sources,
			"chains": u.Chains, "tunnels": u.Tunnels, "learned": u.Learned,
		} {
			e.gauge(tableUsed, float64(fill.Used), table)
			e.gauge(tableCapacity, float64(fill.Total), table)
		}
	}
	for _, b := range s.Datapath.Bypassed {
		e.gauge(bypassed, float64(len(b.Backends)), b.Service, b.Interface)
	}
	for _, i := range s.Datapath.Interfaces {
		e.truth(interfaceAttached, i.Attached, i.Name, i.Mode)
		e.truth(interfaceFallback, i.Fallback != "", i.Name)
	}
}

func (e emitter) vips(s api.Status) {
	for _, v := range s.VIPs {
		e.truth(vipAnnounced, v.Announced, v.VIP.String(), string(v.Reason))
	}
	problems := 0
	for _, r := range s.Reasons {
		// What others serve is no problem, and what is about to get an address is none yet.
		if !r.Foreign() && r.Reason != desired.AddressPending {
			problems++
		}
	}
	for _, svc := range s.Services {
		if svc.Error != "" {
			problems++
		}
	}
	e.gauge(services, float64(len(s.Services)))
	e.gauge(serviceProblems, float64(problems))
}

func (e emitter) verdicts(counts []maps.VerdictCount) {
	for _, v := range counts {
		e.counter(verdictPackets, v.Packets, v.Name, v.Action)
		e.counter(verdictBytes, v.Bytes, v.Name, v.Action)
	}
}

// mostBackends is for how many there are metrics of each: 20000 make a scrape of 10 MB.
const mostBackends = 20000

func (e emitter) backends(list []maps.ServiceStatus) {
	count := 0
	for _, s := range list {
		count += len(s.Backends)
	}
	e.truth(backendSeries, count <= mostBackends)
	for _, s := range list {
		e.gauge(serviceRows, float64(s.Rows), s.Name)
		for length, rows := range s.Chains {
			if length > 0 {
				e.gauge(chainRows, float64(rows), s.Name, strconv.Itoa(length))
			}
		}
		for _, b := range s.Backends {
			if count <= mostBackends {
				e.backend(s.Name, b)
			}
		}
	}
}

func (e emitter) backend(service string, b maps.BackendStatus) {
	backend := b.Addr.String()
	e.counter(backendPackets, b.Packets, service, backend)
	e.counter(backendBytes, b.Bytes, service, backend)
	e.counter(backendFlows, b.NewFlows, service, backend)
	e.gauge(backendRows, float64(b.Rows), service, backend)
	e.gauge(backendMode, 1, service, backend, string(b.Mode))
}
