package maps

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/penstock-lb/penstock/bpf"
)

// View reads the tables. Its methods may be called from any goroutine, and see
// the kernel's state of the moment.
type View struct {
	m struct {
		frontends, generation, regions, slots, chains, ranks, backends, tunnels, members *ebpf.Map
		backendIndices, services, counters, verdicts, flows                              *ebpf.Map
		learned, learnedFilter, sources                                                  *ebpf.Map
	}
	rows      slots
	published regionTable
	ranked    ranks
	owned     []*ebpf.Map
}

// ServiceStatus is a service as the kernel has it.
type ServiceStatus struct {
	Name      string     `json:"name"`
	ID        uint32     `json:"id"`
	Frontends []Frontend `json:"frontends"`
	Affinity  Affinity   `json:"affinity"`

	// Restricted says that only clients of Sources are served.
	Restricted bool           `json:"restricted"`
	Sources    []netip.Prefix `json:"sources,omitzero"`

	Rows     uint32          `json:"rows"`
	Chained  uint32          `json:"chained"` // of them, those whose flows may be on a former owner
	Chains   []uint64        `json:"chains"`  // of them, by the number of owners, from 0
	Backends []BackendStatus `json:"backends"`
}

// BackendStatus is a backend as the kernel has it, with its counters.
type BackendStatus struct {
	Index    uint32         `json:"index"`
	Addr     netip.AddrPort `json:"addr"`
	Rows     uint32         `json:"rows"` // of its service's table; 0 takes no new flow
	Mode     Mode           `json:"mode"`
	Tunnel   netip.Addr     `json:"tunnel,omitzero"` // the ingress node that its packets go to
	Dead     bool           `json:"dead"`            // that node does not answer
	NextHop  NextHop        `json:"nextHop"`         // to the backend, or to its ingress node
	Packets  uint64         `json:"packets"`         // towards the backend
	Bytes    uint64         `json:"bytes"`           // of IP packet
	NewFlows uint64         `json:"newFlows"`
}

// Mode is how packets get to a backend.
type Mode string

// The modes.
const (
	DSR Mode = "dsr" // through a tunnel to its node; it answers the client itself
	NAT Mode = "nat" // translated, and answers come back through this node
)

// VerdictCount is the counter of one verdict since the maps were made.
type VerdictCount struct {
	Name    string `json:"name"`
	Action  string `json:"action"` // pass, forward, reply, icmp, reject, drop or abort
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"` // of IP packet; of frame where it is not IP
}

// FlowStats tells how full the flow tables are. On an LB node a flow has two entries.
// On an ingress node it has one, at first among the young, which can be evicted.
type FlowStats struct {
	Entries       uint32 `json:"entries"`
	Capacity      uint32 `json:"capacity"`
	Young         uint32 `json:"young,omitzero"`
	YoungCapacity uint32 `json:"youngCapacity,omitzero"`
}

// OpenView opens the pinned tables for reading, with or without an agent.
func OpenView(pins string) (*View, error) {
	opened, err := bpf.OpenTables(pins)
	if err != nil {
		return nil, err
	}
	v, err := newView(func(name string) *ebpf.Map { return opened[name] })
	if err != nil {
		return nil, err
	}
	v.owned = slices.Collect(maps.Values(opened))
	return v, nil
}

func newView(m func(name string) *ebpf.Map) (*View, error) {
	v := &View{}
	v.m.frontends, v.m.regions, v.m.slots, v.m.services = m("frontends"), m("regions"), m("slots"), m("services")
	v.m.generation, v.m.sources = m("frontend_generation"), m("sources")
	v.m.backends, v.m.backendIndices, v.m.counters = m("backends"), m("backend_indices"), m("backend_counters")
	v.m.verdicts, v.m.flows, v.m.members, v.m.tunnels = m("verdicts"), m("flows"), m("members"), m("tunnels")
	v.m.chains, v.m.ranks, v.m.learned, v.m.learnedFilter = m("chains"), m("ranks"), m("learned"), m("learned_filter")
	var err error
	if v.rows, err = mapSlots(v.m.slots, unix.PROT_READ); err != nil {
		return nil, err
	}
	if v.published, err = mapRegions(v.m.regions, unix.PROT_READ); err != nil {
		return nil, errors.Join(err, v.rows.close())
	}
	if v.ranked, err = mapRanks(v.m.ranks, unix.PROT_READ); err != nil {
		return nil, errors.Join(err, v.published.close(), v.rows.close())
	}
	return v, nil
}

// Close lets go of the maps.
func (v *View) Close() error {
	err := errors.Join(v.rows.close(), v.published.close(), v.ranked.close())
	for _, m := range v.owned {
		err = errors.Join(err, m.Close())
	}
	return err
}

// Services lists the services by name, their frontends and backends by address.
func (v *View) Services() ([]ServiceStatus, error) {
	return v.services(func(string) bool { return true })
}

// ServicesOf lists the services that have one of names up to the colon, or as a whole: of
// the others no row or backend is read.
func (v *View) ServicesOf(names ...string) ([]ServiceStatus, error) {
	return v.services(func(name string) bool {
		of, _, _ := strings.Cut(name, ":")
		return slices.Contains(names, of) || slices.Contains(names, name)
	})
}

func (v *View) services(wanted func(name string) bool) ([]ServiceStatus, error) {
	byID := make(map[uint32]*ServiceStatus)
	err := walk(v.m.services, func(id uint32, raw bpf.Service) error {
		if name := serviceName(raw); wanted(name) {
			byID[id] = &ServiceStatus{Name: name, ID: id, Frontends: []Frontend{}, Backends: []BackendStatus{}}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("services: %w", err)
	}
	if err := v.frontends(byID); err != nil {
		return nil, fmt.Errorf("frontends: %w", err)
	}
	if err := v.sources(byID); err != nil {
		return nil, fmt.Errorf("sources: %w", err)
	}
	share, err := v.tables(byID)
	if err != nil {
		return nil, fmt.Errorf("chains: %w", err)
	}
	if err := v.backends(byID, share); err != nil {
		return nil, fmt.Errorf("backends: %w", err)
	}
	list := make([]ServiceStatus, 0, len(byID))
	for _, s := range byID {
		slices.SortFunc(s.Frontends, compareFrontends)
		slices.SortFunc(s.Sources, netip.Prefix.Compare)
		s.Sources = slices.Compact(s.Sources) // the walk begins anew where its entry has gone
		slices.SortFunc(s.Backends, func(a, b BackendStatus) int { return a.Addr.Compare(b.Addr) })
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b ServiceStatus) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

func (v *View) frontends(byID map[uint32]*ServiceStatus) error {
	return walk(v.m.frontends, func(key bpf.FrontendKey, fe bpf.Frontend) error {
		if s := byID[fe.Service]; s != nil && !isVIP(key) {
			s.Frontends = append(s.Frontends, frontendOf(key))
		}
		return nil
	})
}

func (v *View) sources(byID map[uint32]*ServiceStatus) error {
	return walk(v.m.sources, func(key bpf.SourceKey, _ bpf.Source) error {
		if s := byID[key.Service]; s != nil {
			s.Sources = append(s.Sources, sourceOf(key))
		}
		return nil
	})
}

// tables fills in what regions say and returns how many rows each backend has.
func (v *View) tables(byID map[uint32]*ServiceStatus) (share map[uint32]uint32, err error) {
	share = make(map[uint32]uint32)
	read := make(map[uint32]owners)
	for id, s := range byID {
		if id >= uint32(len(v.published.words)) {
			continue
		}
		raw := v.published.get(id)
		s.Affinity, s.Restricted = affinity(raw.Flags), raw.Flags&bpf.RegionSources != 0
		r, ok := regionOf(raw)
		if raw.Flags&bpf.RegionUsable == 0 || !ok || uint64(r.base)+uint64(r.rows) > uint64(len(v.rows.words)) {
			continue
		}
		s.Rows = r.rows
		if err := v.count(s, r, share, read); err != nil {
			return nil, err
		}
	}
	return share, nil
}

// count adds the rows of a table to those of its backends. A backend is of one table alone.
func (v *View) count(s *ServiceStatus, r region, share map[uint32]uint32, read map[uint32]owners) error {
	own := make(map[uint32]uint32) // stays in the cache, which share does not
	for row := range r.rows {
		c := owners{1, v.rows.get(r.base + row)}
		if isChained(c.first) {
			var err error
			if c, err = v.chain(r.base+row, read); err != nil {
				return err
			}
		}
		if c.count > 1 {
			s.Chained++
		}
		for uint32(len(s.Chains)) <= c.count {
			s.Chains = append(s.Chains, 0)
		}
		s.Chains[c.count]++
		own[c.first]++
	}
	maps.Copy(share, own)
	return nil
}

// owners is how many a row has, and the first of them.
type owners struct{ count, first uint32 }

// chain is whom a chained row names. Elements of chains are read once each.
func (v *View) chain(row uint32, read map[uint32]owners) (owners, error) {
	index := atomic.LoadUint32(v.ranked.chain(row))
	if c, ok := read[index]; ok {
		return c, nil
	}
	var raw bpf.Chain
	if err := v.m.chains.Lookup(index, &raw); err != nil {
		return owners{}, err
	}
	c := owners{min(raw.Count, uint32(bpf.ChainMax)), raw.Owners[0]}
	read[index] = c
	return c, nil
}

func (v *View) backends(byID map[uint32]*ServiceStatus, share map[uint32]uint32) error {
	var perCPU []bpf.BackendCounter
	return walk(v.m.backendIndices, func(key bpf.BackendKey, index uint32) error {
		s := byID[key.Service]
		if s == nil {
			return nil
		}
		b, err := v.backend(index, &perCPU)
		if err != nil {
			return err
		}
		b.Rows = share[index]
		s.Backends = append(s.Backends, b)
		return nil
	})
}

// backend reads one with its counters, for which room is kept in perCPU.
func (v *View) backend(index uint32, perCPU *[]bpf.BackendCounter) (b BackendStatus, err error) {
	var raw bpf.Backend
	if err := v.m.backends.Lookup(index, &raw); err != nil {
		return b, err
	}
	if err := v.m.counters.Lookup(index, perCPU); err != nil {
		return b, err
	}
	b = BackendStatus{Index: index, Addr: backendAddr(raw), Mode: NAT, NextHop: nextHopOf(raw.Nexthop, raw.Source)}
	for _, c := range *perCPU {
		b.Packets += c.Packets
		b.Bytes += c.Bytes
		b.NewFlows += c.Flows
	}
	return b, v.tunnel(&b, raw.Tunnel)
}

// tunnel fills in how packets get to the backend's node.
func (v *View) tunnel(b *BackendStatus, index uint16) error {
	var raw bpf.Tunnel
	if index == 0 {
		return nil
	}
	if err := v.m.tunnels.Lookup(uint32(index), &raw); err != nil {
		return err
	}
	b.Mode, b.Tunnel, b.Dead = DSR, raw.Addr.Netip(), raw.Flags&bpf.TunnelDead != 0
	b.NextHop = nextHopOf(raw.Nexthop, raw.Source)
	return nil
}

// Verdicts lists all counters in the order of the program's enum.
func (v *View) Verdicts() ([]VerdictCount, error) { return readVerdicts(v.m.verdicts) }

func readVerdicts(m *ebpf.Map) ([]VerdictCount, error) {
	names, err := bpf.Verdicts()
	if err != nil {
		return nil, err
	}
	list := make([]VerdictCount, len(names))
	var perCPU []bpf.Counter
	for i, n := range names {
		if err := m.Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("verdict %s: %w", n.Name, err)
		}
		list[i] = VerdictCount{Name: n.Name, Action: n.Action}
		for _, c := range perCPU {
			list[i].Packets += c.Packets
			list[i].Bytes += c.Bytes
		}
	}
	return list, nil
}
