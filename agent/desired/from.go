package desired

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/bgp"
)

// From computes what the node of a site should do. Timestamps in the snapshot
// are judged at now.
func From(s Snapshot, site Site, now time.Time) State {
	m := NewModel()
	m.Apply(Whole(s), site, now)
	return m.State()
}

// State gives the whole of what the node should do.
func (m *Model) State() State {
	s := m.Fabric()
	var tables []table
	for _, e := range m.entries {
		tables = append(tables, e.tables...)
		s.Reasons = append(s.Reasons, e.reasons...)
	}
	slices.SortFunc(tables, func(a, b table) int { return cmp.Compare(a.Name, b.Name) })
	for _, t := range tables {
		s.Services = append(s.Services, t.Service)
		s.Backends = append(s.Backends, t.ways...)
	}
	for addr := range m.askers {
		if v, has := m.VIP(addr); has {
			s.VIPs = append(s.VIPs, v)
		}
	}
	slices.SortFunc(s.VIPs, func(a, b VIP) int { return a.Addr.Compare(b.Addr) })
	slices.SortFunc(s.Reasons, compareReasons)
	return s
}

// Fabric gives what State has of nodes, and nothing of Services. Its lists are shared.
func (m *Model) Fabric() State {
	s := m.facts.said
	s.Dead = make(map[netip.Addr]bool, len(m.dead))
	for a := range m.dead {
		s.Dead[a] = true
	}
	return s
}

func compareReasons(a, b ServiceReason) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Subject, b.Subject),
		cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Detail, b.Detail))
}

// judgeVIP says whether a VIP with those tables may be announced.
func judgeVIP(addr netip.Addr, tables []table, away refusal, plan advertise.Plan) VIP {
	v := VIP{Addr: addr, Path: bgp.Path{Prefix: netip.PrefixFrom(addr, addr.BitLen())}, Reason: Announceable}
	slices.SortFunc(tables, func(a, b table) int { return cmp.Compare(a.Name, b.Name) })
	for _, t := range tables {
		if t.usable() {
			v.Services = append(v.Services, t.Name)
		}
	}
	switch {
	case len(tables) == 0:
		v.Reason, v.Detail = NoFrontends, "no port of its Services is in force; see their reasons"
	case len(v.Services) == 0:
		v.Reason = tables[0].why.reason
		var details []string
		for _, t := range tables {
			details = append(details, t.Name+": "+t.why.detail)
		}
		v.Detail = abridge(details)
	}
	v.advertised(plan)
	if v.Reason == Announceable && away.reason != "" { // what keeps it from routers on every node comes first
		v.Services, v.Reason, v.Detail = nil, away.reason, away.detail
	}
	return v
}

// maxName is what the data path keeps of a service's name, in bytes.
const maxName = 159

// tableName names one port of a Service in one family. The API server's limits
// keep it below maxName; a longer one ends in a hash of the whole.
func tableName(svc *corev1.Service, p port, f family) string {
	name := key(svc) + ":" + p.String() + "/" + string(f)
	if len(name) <= maxName {
		return name
	}
	sum := fmt.Sprintf("~%x", sha256.Sum256([]byte(name)))[:17]
	return strings.ToValidUTF8(name[:maxName-len(sum)], "") + sum
}

// ServiceOf gives the namespace/name of the Service that a table is of.
func ServiceOf(table string) string {
	service, _, _ := strings.Cut(table, ":")
	return service
}
