package netns

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// TestCapabilities runs the agent with those of the systemd unit and no others,
// and restarts it so, which has to take over what is pinned.
func TestCapabilities(t *testing.T) {
	unit, err := os.ReadFile("../../deploy/systemd/penstock.service")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`CapabilityBoundingSet=(.*)`).FindStringSubmatch(string(unit))
	if m == nil {
		t.Fatal("the unit bounds no capabilities")
	}
	var bound strings.Builder
	bound.WriteString("-all")
	for name := range strings.FieldsSeq(m[1]) {
		bound.WriteString(",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_")))
	}
	l := lab.New(t, lab.Options{LBs: 1, Nodes: 1})
	b := l.LBs[0]
	b.Wrap = []string{"setpriv", "--no-new-privs", "--inh-caps", "-all", "--bounding-set", bound.String()}
	l.Apply(t, lab.Web(l.Nodes...))
	b.StartAgent(t)
	l.WaitRoutes(t, 1)
	defer func() { // where the program cannot be asked, nothing but the log says so
		if out := b.Agent.Output(); strings.Contains(out, "step=probe") {
			t.Errorf("the program could not be probed:\n%s", out)
		}
	}()
	for range 2 {
		for _, vip := range vips {
			servers(t, l, vip, 3)
		}
		b.KillAgent(t)
		b.StartAgent(t)
		fixture.Wait(t, 30*time.Second, "the agent to be well", func() error {
			_, err := b.Penstock("status")
			return err
		})
	}
}
