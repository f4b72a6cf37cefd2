package metrics

import (
	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/bgp"
)

// causes are all of them: a series that begins with its first event hides that event from
// increase() and rate().
var causes = []bgp.Cause{
	bgp.CauseHoldTimer, bgp.CauseBFD, bgp.CauseConnection, bgp.CauseNotification, bgp.CauseMaxPrefixes, bgp.CauseProtocol, bgp.CauseConfig,
}

func (e emitter) bgp(s api.Status) {
	for _, p := range s.BGP.Peers {
		e.truth(sessionUp, api.SessionUp(p), p.Name)
		for _, cause := range causes {
			e.counter(sessionFlaps, uint64(p.Causes[cause]), p.Name, string(cause))
		}
		e.counter(malformed, p.Malformed, p.Name)
		for _, f := range p.Families {
			e.gauge(pathsAnnounced, float64(f.Announced), p.Name, string(f.Family))
			e.gauge(pathsReceived, float64(f.Received), p.Name, string(f.Family))
		}
		if p.BFD != nil {
			e.truth(bfdUp, p.BFD.State == "up", p.Name)
			e.counter(bfdDetections, p.BFD.Detections, p.Name)
		}
	}
}
