package api

import "github.com/penstock-lb/penstock/agent/ipam"

// PoolsStatus says how full the pools are. Only the agent that leads knows.
type PoolsStatus struct {
	Leader string       `json:"leader,omitempty"` // node of the agent that allocates; empty: nobody at the moment, as far as is known
	Self   bool         `json:"self"`             // it is this one
	Pools  []ipam.Usage `json:"pools"`            // by pool and family; empty unless Self
	Error  string       `json:"error,omitempty"`  // why this agent allocates nothing, or cannot write what it has decided
}

// Allocator is an Agent that takes part in the allocation of addresses.
type Allocator interface {
	Pools() PoolsStatus
}

// notAllocating is what an agent of a role without addresses says.
var notAllocating = PoolsStatus{Pools: []ipam.Usage{}, Error: "this agent allocates no addresses: agents with role lb and source.kind kubernetes do"}

func pools(agent Agent) PoolsStatus {
	a, ok := agent.(Allocator)
	if !ok {
		return notAllocating
	}
	s := a.Pools()
	if s.Pools == nil {
		s.Pools = []ipam.Usage{}
	}
	return s
}
