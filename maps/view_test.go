package maps

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ServicesOf has of some services what Services has of all.
func TestServicesOf(t *testing.T) {
	d := open(t, pins(t), 1<<13)
	defer d.close(t)
	want := []Service{
		svc("default/web:http/tcp/ipv4", "10.0.0.1", "10.1.0.1:80").only("192.0.2.0/24"), svc("default/web:http/tcp/ipv6", "fd00::1", "[fd01::1]:80"),
		svc("default/web-2:http/tcp/ipv4", "10.0.0.2", "10.1.0.2:80", "10.1.0.3:80"), svc("other/web:http/tcp/ipv4", "10.0.0.3"),
	}
	if err := d.Sync(t.Context(), Want{Services: want}); err != nil {
		t.Fatal(err)
	}
	all, err := d.Services()
	if err != nil || len(all) != len(want) {
		t.Fatalf("%d services, %v", len(all), err)
	}
	for _, test := range []struct{ ask, names []string }{
		{nil, nil},
		{[]string{"default/web"}, []string{"default/web:http/tcp/ipv4", "default/web:http/tcp/ipv6"}},
		{[]string{"default/web-2:http/tcp/ipv4", "other/web", "nobody/knows"}, []string{"default/web-2:http/tcp/ipv4", "other/web:http/tcp/ipv4"}},
		{[]string{"default/we", "default", ""}, nil},
	} {
		got, err := d.ServicesOf(test.ask...)
		if err != nil {
			t.Fatal(err)
		}
		var wanted []ServiceStatus
		for _, s := range all {
			if slices.Contains(test.names, s.Name) {
				wanted = append(wanted, s)
			}
		}
		if diff := cmp.Diff(wanted, append([]ServiceStatus(nil), got...), plainAddrs); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.ask, diff)
		}
	}
}
