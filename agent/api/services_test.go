package api

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/maps"
)

func TestServicesSayWhy(t *testing.T) {
	front := []maps.Frontend{{VIP: netip.MustParseAddr("192.0.2.1"), Port: 80, Proto: maps.TCP}}
	inKernel := func(name string) maps.ServiceStatus {
		return maps.ServiceStatus{Name: name, Frontends: front, Backends: []maps.BackendStatus{}}
	}
	kernel := []maps.ServiceStatus{inKernel("a/fine:http/tcp/ipv4"), inKernel("a/idle:http/tcp/ipv4"), inKernel("a/stale:http/tcp/ipv4")}
	got := Services(kernel, Status{
		Services: []ServiceStatus{
			{Name: "a/fine:http/tcp/ipv4"},
			{Name: "a/big:http/tcp/ipv4", Frontends: front, Error: "no room"},
			{Name: "a/idle:http/tcp/ipv4"},
			{Name: "a/stale:http/tcp/ipv4", Error: "no room"},
		},
		Reasons: []desired.ServiceReason{
			{Service: "a/idle", Subject: "port http/tcp/ipv4", Reason: desired.NoEndpoints, Detail: "no slice"},
			{Service: "a/stale", Subject: "port http/tcp/ipv4", Reason: desired.TerminatingOnly},
			{Service: "a/fine", Subject: "192.0.2.9", Reason: desired.InvalidAddress},
			{Service: "a/gone", Reason: desired.NoAddress},
		},
	})
	want := []Service{
		{ServiceStatus: inKernel("a/big:http/tcp/ipv4"), Reason: Refused, Detail: "no room"},
		{ServiceStatus: kernel[0], InKernel: true},
		{ServiceStatus: kernel[1], InKernel: true, Reason: desired.NoEndpoints, Detail: "no slice"},
		{ServiceStatus: kernel[2], InKernel: true, Reason: Refused, Detail: "no room"},
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
}
