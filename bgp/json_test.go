package bgp

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestUptimeIsInSeconds(t *testing.T) {
	want := PeerState{
		Name: "tor", Address: netip.MustParseAddr("192.0.2.1"), ASN: 64512, State: Established, Since: time.Unix(1_700_000_000, 0).UTC(),
		Uptime: 90*time.Second + 500*time.Millisecond, Families: []FamilyState{{Family: IPv4, Announced: 2}},
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"uptimeSeconds":90.5`) || strings.Contains(string(b), `"uptime":`) {
		t.Errorf("%s", b)
	}
	var got PeerState
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("want -, got +\n%s", d)
	}
}
