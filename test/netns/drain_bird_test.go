package netns

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// birdConf is a BIRD router in FRR's place, which knows nothing of GRACEFUL_SHUTDOWN.
func birdConf(l *lab.Lab) string {
	var b strings.Builder
	b.WriteString("router id 10.255.255.1;\nprotocol device { scan time 1; }\n")
	for _, channel := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, "protocol kernel { %s { export where source = RTS_BGP; }; merge paths yes; }\n", channel)
	}
	for _, n := range l.LBs {
		for channel, addr := range map[string]string{"ipv4": n.Addr4.String(), "ipv6": n.Addr6.String()} {
			fmt.Fprintf(&b, "protocol bgp %s_%s {\n\tlocal as %d;\n\tneighbor %s as %d;\n\thold time 3;\n"+
				"\tconnect retry time 2;\n\terror wait time 1, 3;\n\t%s { import all; export none; };\n}\n",
				n.Name, channel, lab.RouterASN, addr, lab.LBASN, channel)
		}
	}
	return b.String()
}

// TestDrainTowardsBIRD drains an LB node whose router follows no community: the MED moves the
// requests, which do not cease, before the routes go.
func TestDrainTowardsBIRD(t *testing.T) {
	l, _ := tunnelSite(t, lab.Options{LBs: 2})
	l.FRR.Stop(t)
	fixture.StartBIRD(t, l.Router, birdConf(l))
	for _, h := range l.Hosts() {
		h.StartAgent(t)
	}
	l.WaitRoutes(t, 2)
	for _, b := range l.LBs {
		nodeStates(t, b, "alive alive")
	}
	var loads []load
	for _, vip := range vips {
		loads = append(loads, startLoad(t, l, vip, 12*time.Second, "-H", "Connection: close"))
	}
	if out, err := l.LBs[0].Penstock("drain", "--timeout", "9s", "--wait"); err != nil {
		t.Errorf("drain: %q, %v", out, err) // the exit code is 4 where traffic went on to arrive
	}
	l.WaitRoutes(t, 1)
	if out, err := l.LBs[0].Penstock("undrain"); err != nil {
		t.Errorf("undrain: %q, %v", out, err)
	}
	l.WaitRoutes(t, 2)
	for _, w := range loads {
		w.check(t)
	}
}
