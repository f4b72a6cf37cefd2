package netns

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// advertise writes bgp.advertisements into the configuration of a running agent.
func advertise(t *testing.T, b *lab.LB, list string) {
	t.Helper()
	text, err := os.ReadFile(b.Config())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "  peers:") {
			lines = append(lines, "  advertisements: "+list+"\n")
		}
		if !strings.HasPrefix(line, "  advertisements:") {
			lines = append(lines, line)
		}
	}
	next := b.Config() + ".next"
	if err := os.WriteFile(next, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, b.Config()); err != nil {
		t.Fatal(err)
	}
}

// waitFIB waits until of these prefixes the router has exactly the ones that are true.
func waitFIB(t *testing.T, l *lab.Lab, what string, want map[string]bool) {
	t.Helper()
	for text, there := range want {
		prefix := netip.MustParsePrefix(text)
		family := map[bool]string{true: "-4", false: "-6"}[prefix.Addr().Is4()]
		fixture.Wait(t, 45*time.Second, what, func() error {
			out, err := l.Router.Output("ip", family, "route", "show", "exact", text)
			if has := strings.Contains(out, "via"); err == nil && has != there {
				err = fmt.Errorf("the router has %s: %v", text, has)
			}
			return err
		})
	}
}

// TestAggregates puts prefixes in the place of the VIPs' own and takes them away again, under load that
// does not notice, and has the last VIP in them go.
func TestAggregates(t *testing.T) {
	l := site(t, lab.Options{LBs: 1, Nodes: 1})
	b := l.LBs[0]
	own4, own6 := netip.PrefixFrom(lab.VIP4, 32), netip.PrefixFrom(lab.VIP6, 128)
	all4, all6 := netip.PrefixFrom(lab.VIP4, 25).Masked().String(), netip.PrefixFrom(lab.VIP6, 72).Masked().String()
	fib := func(own, aggregate bool) map[string]bool {
		return map[string]bool{own4.String(): own, own6.String(): own, all4: aggregate, all6: aggregate}
	}
	waitFIB(t, l, "the VIPs' own prefixes", fib(true, false))
	loads := []load{startLoad(t, l, lab.VIP4, 12*time.Second), startLoad(t, l, lab.VIP6, 12*time.Second)}
	const aggregate = "{name: web, aggregateLength4: 25, aggregateLength6: 72, aggregateOnly: %v}"
	advertise(t, b, "["+fmt.Sprintf(aggregate, false)+"]")
	waitFIB(t, l, "the aggregates beside them", fib(true, true))
	advertise(t, b, "["+fmt.Sprintf(aggregate, true)+"]")
	waitFIB(t, l, "the aggregates alone", fib(false, true))
	waitStatus(t, b, "the VIPs count as announced", func(s said) error {
		return s.is(map[netip.Addr]string{lab.VIP4: "", lab.VIP6: ""})
	})
	if out, err := b.Penstock("status"); err != nil || !strings.Contains(out, "by aggregate "+all4) || !strings.Contains(out, "by aggregate "+all6) {
		t.Errorf("status: %v\n%s", err, out)
	}
	advertise(t, b, "[]")
	waitFIB(t, l, "the VIPs' own prefixes again", fib(true, false))
	advertise(t, b, "["+fmt.Sprintf(aggregate, true)+"]")
	waitFIB(t, l, "the aggregates once more", fib(false, true))
	for _, w := range loads {
		w.check(t)
	}
	l.Apply(t, lab.Web())
	waitFIB(t, l, "nothing, as no endpoint is left", fib(false, false))
	advertise(t, b, "[{name: other, namespaces: [other]}]")
	l.Apply(t, lab.Web(l.Nodes...))
	waitStatus(t, b, "no entry selects them", func(s said) error {
		return s.is(map[netip.Addr]string{lab.VIP4: "NotAdvertised", lab.VIP6: "NotAdvertised"})
	})
}
