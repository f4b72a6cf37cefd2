package main

import "testing"

func TestSubjects(t *testing.T) {
	for _, tt := range []struct {
		subjects []string
		want     string
	}{
		{[]string{""}, ""},
		{[]string{"", "penstock.dev/bgp-med"}, "penstock.dev/bgp-med"}, // the whole Service, and a part of it
		{[]string{"192.0.2.1", "2001:db8::1"}, "192.0.2.1, 2001:db8::1"},
		{[]string{"port http/tcp/ipv4", "port http/tcp/ipv6"}, "port http/tcp"},
	} {
		var all []trouble
		for _, s := range tt.subjects {
			all = append(all, trouble{subject: s})
		}
		if got := subjects(all); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.subjects, got, tt.want)
		}
	}
}
