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

// readOnly gives the command behind it a file system as containers have that may write nothing:
// the root and /proc/sys are read-only, and the first argument is the one place where files go.
const readOnly = `mount --bind "$0" "$0" && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys &&
mount -o remount,bind,ro / && ! touch /penstock 2>/dev/null && exec "$@"`

// TestCapabilities runs the agent with those of the systemd unit and no others, and nothing to
// write to but its own directory, and restarts it so, which has to take over what is pinned.
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
	b.Wrap = []string{"unshare", "--mount", "--propagation", "slave", "sh", "-c", readOnly, b.Dir,
		"setpriv", "--no-new-privs", "--inh-caps", "-all", "--bounding-set", bound.String()}
	l.Apply(t, lab.Web(l.Nodes...))
	b.StartAgent(t)
	l.WaitRoutes(t, 1)
	defer func() { // where the program cannot be asked, nothing but the log says so
		if out := b.Agent.Output(); strings.Contains(out, "step=probe") {
			t.Errorf("the program could not be probed:\n%s", out)
		}
	}()
	if got := strings.TrimSpace(b.Run(t, "cat", "/proc/sys/net/ipv4/conf/eth0/accept_local")); got != "1" {
		t.Errorf("accept_local is %q", got)
	}
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
