package kube

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
)

func TestCondition(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	inUse := ipam.Finding{Reason: ipam.AddressInUse, Field: "spec.loadBalancerIP", Message: "192.0.2.9 is default/web's; ask for another"}
	for _, tc := range []struct {
		name    string
		in      ipam.Decision
		status  metav1.ConditionStatus
		reason  string
		message string
	}{
		{"one address", ipam.Decision{Addresses: []netip.Addr{v4}, Pools: []string{"public"}},
			"True", "Allocated", "192.0.2.7 (pool public)"},
		{"two", ipam.Decision{Addresses: []netip.Addr{v6, v4}, Pools: []string{"six", "public"}},
			"True", "Allocated", "2001:db8::7 (pool six) and 192.0.2.7 (pool public)"},
		{"of no pool", ipam.Decision{Addresses: []netip.Addr{v4}, Pools: []string{""},
			Warnings: []ipam.Finding{{Reason: ipam.PoolShrunk, Message: "no pool has 192.0.2.7 any more"}}},
			"True", "Allocated", "192.0.2.7 (no pool); no pool has 192.0.2.7 any more"},
		{"shared", ipam.Decision{Addresses: []netip.Addr{v4}, Pools: []string{"p"}, SharedWith: []string{"a/b", "a/c"}},
			"True", "Shared", "192.0.2.7 (pool p); shared with a/b and a/c"},
		{"shared by many", ipam.Decision{Addresses: []netip.Addr{v6}, Pools: []string{"p"}, SharedWith: []string{"a/b", "a/c"}, SharedMore: true},
			"True", "Shared", "2001:db8::7 (pool p); shared with a/b, a/c and others"},
		{"refused", ipam.Decision{Refused: []ipam.Finding{inUse}},
			"False", "AddressInUse", "spec.loadBalancerIP: 192.0.2.9 is default/web's; ask for another"},
		{"refused, but for one family", ipam.Decision{Addresses: []netip.Addr{v6}, Pools: []string{"six"}, Refused: []ipam.Finding{inUse}},
			"False", "AddressInUse", "2001:db8::7 (pool six); spec.loadBalancerIP: 192.0.2.9 is default/web's; ask for another"},
		{"nothing", ipam.Decision{}, "False", "NoPool", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := condition(tc.in)
			want := metav1.Condition{Type: desired.AllocatedCondition, Status: tc.status, Reason: tc.reason, Message: tc.message}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(tc.in.Addresses, written(&got), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("addresses that the message names (-want +got)\n%s", diff)
			}
		})
	}
}

func TestWrittenOfOthersMessages(t *testing.T) {
	for _, text := range []string{"", "192.0.2.7", "192.0.2.9 is default/web's; ask for another", "waiting for 192.0.2.1 (pool p)"} {
		if got := written(&metav1.Condition{Message: text}); len(got) > 0 {
			t.Errorf("%q: %v", text, got)
		}
	}
	if got := written(nil); got != nil {
		t.Errorf("no condition: %v", got)
	}
}

func TestConditionIsCut(t *testing.T) {
	var d ipam.Decision
	for range 100 {
		d.Refused = append(d.Refused, ipam.Finding{Reason: ipam.InvalidRequest, Message: strings.Repeat("ä", 100)})
	}
	if got := condition(d).Message; len(got) > maxMessage || !strings.HasSuffix(got, "ä…") {
		t.Errorf("%d bytes, ends with %q", len(got), got[len(got)-5:])
	}
}
