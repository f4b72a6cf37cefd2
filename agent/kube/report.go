package kube

import (
	"net/netip"

	"github.com/penstock-lb/penstock/agent/desired"
)

// VIPReport is what one node makes of one address of a Service.
type VIPReport struct {
	VIP       netip.Addr
	Announced bool
	Peers     []string // that have the route now, by name
	Reason    desired.Reason
	Detail    string // of one that is not announced
}

// ServiceReport is what one node makes of a Service. Later ones replace earlier ones.
type ServiceReport struct {
	Service string // namespace/name
	UID     string
	VIPs    []VIPReport             // by address
	Reasons []desired.ServiceReason // why parts of it are not in force
}
