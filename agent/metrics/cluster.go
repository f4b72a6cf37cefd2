package metrics

import "github.com/penstock-lb/penstock/agent/api"

// cluster is what there is with an API server alone.
func (e emitter) cluster(s api.Status) {
	if link := s.Source.API; link != nil {
		e.truth(sourceConnected, link.Connected)
		e.timestamp(sourceLink, link.Since)
	}
	for _, n := range s.Nodes {
		if n.Published != nil {
			e.truth(nodeReady, n.Published.Ready, n.Name, n.Role, n.Published.Version)
		}
	}
}

// pools are the leader's: two agents that both had them would count everything twice.
func (e emitter) pools(s api.PoolsStatus) {
	e.truth(leader, s.Self)
	if !s.Self {
		return
	}
	for _, u := range s.Pools {
		e.gauge(poolAddresses, float64(u.Total), u.Pool, u.Family)
		e.gauge(poolAllocated, float64(u.Allocated), u.Pool, u.Family)
	}
}
