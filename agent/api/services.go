package api

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/maps"
)

// Reasons that readers of a status compare with.
const (
	Refused   desired.Reason = "Refused"   // the tables did not take the service
	NoSession desired.Reason = "NoSession" // no router has the VIP at the moment

	ProbeFailed desired.Reason = "ProbeFailed" // the loaded program does not forward to the VIP
	// FailOpen is of a backend whose node does not answer, but counts as if it did.
	FailOpen desired.Reason = "FailOpen"
	// SourceProblem is of an object that the source cannot read.
	SourceProblem desired.Reason = "SourceProblem"
)

// Service is a service in the tables or on its way there, and why it is not in
// force as it is wanted.
type Service struct {
	maps.ServiceStatus
	InKernel bool           `json:"inKernel"`
	Reason   desired.Reason `json:"reason,omitempty"`
	Detail   string         `json:"detail,omitempty"`
}

// InKernel lists services that were read from the tables, without reasons.
func InKernel(services []maps.ServiceStatus) []Service {
	out := make([]Service, len(services))
	for i, s := range services {
		out[i] = Service{ServiceStatus: s, InKernel: true}
	}
	return out
}

// Services joins what the tables have with what the status says is wanted, by
// name.
func Services(kernel []maps.ServiceStatus, status Status) []Service {
	all := InKernel(kernel)
	has := make(map[string]int, len(all))
	for i, s := range all {
		has[s.Name] = i
	}
	for _, wanted := range status.Services {
		i, ok := has[wanted.Name]
		if !ok {
			i = len(all)
			has[wanted.Name] = i
			all = append(all, Service{ServiceStatus: maps.ServiceStatus{
				Name: wanted.Name, Frontends: wanted.Frontends, Backends: []maps.BackendStatus{},
			}})
		}
		if wanted.Error != "" {
			all[i].Reason, all[i].Detail = Refused, wanted.Error
		}
	}
	for _, r := range status.Reasons {
		port, isPort := strings.CutPrefix(r.Subject, "port ")
		if i, ok := has[r.Service+":"+port]; ok && isPort && all[i].Reason == "" {
			all[i].Reason, all[i].Detail = r.Reason, r.Detail
		}
	}
	slices.SortFunc(all, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Select returns the services that names mean, or all where there are none. A
// name is a whole name, or a Kubernetes Service's "namespace/name", which means
// all its ports and families.
func Select(services []Service, names []string) []Service {
	if len(names) == 0 {
		return services
	}
	meant := func(s Service) bool {
		return slices.ContainsFunc(names, func(n string) bool {
			return s.Name == n || strings.HasPrefix(s.Name, n+":")
		})
	}
	return slices.DeleteFunc(slices.Clone(services), func(s Service) bool { return !meant(s) })
}

// Backend is one backend of one service, for listing all of them.
type Backend struct {
	Service string  `json:"service"`
	Share   float64 `json:"share"`            // of the service's table, 0 to 1
	Device  string  `json:"device,omitempty"` // that NextHop.Ifindex means here
	maps.BackendStatus

	// What the agent says of it: the name of its node, how its packets are to go, and why
	// so. Empty without an agent, and where it is no longer wanted. One with ModeNone
	// is not in the tables.
	Node   string         `json:"node,omitempty"`
	Wanted desired.Mode   `json:"wanted,omitempty"`
	Reason desired.Reason `json:"reason,omitempty"`
	Detail string         `json:"detail,omitempty"`
}

// Backends lists the backends of services, in the services' order, with what is said of
// them. Devices are looked up in the network namespace of the process.
func Backends(services []Service, said []desired.Backend) []Backend {
	type key struct {
		service string
		addr    netip.AddrPort
	}
	about := make(map[key]desired.Backend, len(said))
	without := map[string][]desired.Backend{} // by service
	for _, d := range said {
		about[key{d.Service, d.Addr}] = d
		if d.Mode == desired.ModeNone {
			without[d.Service] = append(without[d.Service], d)
		}
	}
	all := []Backend{}
	names := map[uint32]string{}
	for _, s := range services {
		listed := map[netip.AddrPort]bool{}
		for _, b := range s.Backends {
			backend := Backend{Service: s.Name, Device: device(names, b.NextHop.Ifindex), BackendStatus: b}
			if s.Rows > 0 {
				backend.Share = float64(b.Rows) / float64(s.Rows)
			}
			backend.say(about[key{s.Name, b.Addr}])
			all = append(all, backend)
			listed[b.Addr] = true
		}
		for _, d := range without[s.Name] {
			if !listed[d.Addr] {
				backend := Backend{Service: s.Name, BackendStatus: maps.BackendStatus{Addr: d.Addr, Mode: maps.Mode(d.Mode)}}
				backend.say(d)
				all = append(all, backend)
			}
		}
	}
	return all
}

func (b *Backend) say(d desired.Backend) {
	b.Node, b.Wanted, b.Reason, b.Detail = d.Node, d.Mode, d.Reason, d.Detail
}

// device returns a device's name, which is empty if it is gone, and remembers it
// in names.
func device(names map[uint32]string, index uint32) string {
	if _, known := names[index]; !known && index != 0 {
		if dev, err := net.InterfaceByIndex(int(index)); err == nil {
			names[index] = dev.Name
		}
	}
	return names[index]
}
