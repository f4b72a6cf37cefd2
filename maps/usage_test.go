package maps

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUsage(t *testing.T) {
	dir := pins(t)
	d := open(t, dir, 4096)
	defer d.close(t)
	view, err := OpenView(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	same := func(what string, want Usage) {
		t.Helper()
		for who, read := range map[string]func() (Usage, error){"agent": d.Usage, "view": view.Usage} {
			got, err := read()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s: want -, got +\n%s", what, who, diff)
			}
		}
	}
	sources, chains, tunnels, learned := Fill{0, maxSources}, Fill{0, maxChains}, Fill{0, 4095}, Fill{0, 1 << 18}
	same("empty", Usage{Fill{0, 4096}, Fill{0, 64}, Fill{0, 256}, sources, chains, tunnels, learned})
	want := Want{Services: []Service{
		svc("a", "192.0.2.1", "10.0.0.1:80", "10.0.0.2:80").only("10.0.0.0/8", "192.0.2.0/24"),
		svc("b", "192.0.2.2", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80"),
	}}
	if err := d.Sync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	same("two services", Usage{Fill{256 + 512, 4096}, Fill{5, 64}, Fill{4, 256}, Fill{2, maxSources}, chains, tunnels, learned})
}
