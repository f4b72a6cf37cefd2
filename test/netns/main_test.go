package netns

import (
	"encoding/json"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// TestMain builds the binary once for all tests.
func TestMain(m *testing.M) { os.Exit(lab.BuildOnce(m.Run)) }

// site is a lab whose agents run, with the web tier on all nodes, announced.
func site(t *testing.T, opts lab.Options) *lab.Lab {
	t.Helper()
	l := lab.New(t, opts)
	l.Apply(t, lab.Web(l.Nodes...))
	for _, b := range l.LBs {
		b.StartAgent(t)
	}
	l.WaitRoutes(t, len(l.LBs))
	return l
}

var vips = map[string]netip.Addr{"ipv4": lab.VIP4, "ipv6": lab.VIP6}

func url(vip netip.Addr, port uint16, path string) string {
	return "http://" + netip.AddrPortFrom(vip, port).String() + path
}

// curl makes one request from the client and returns the body.
func curl(l *lab.Lab, args ...string) (string, error) {
	return l.Client.Output(append([]string{"curl", "-sS", "--fail", "--max-time", "10"}, args...)...)
}

var serverName = regexp.MustCompile(`server=(\S+)`)

// servers makes n requests, each on a connection of its own, and counts who answered.
func servers(t *testing.T, l *lab.Lab, vip netip.Addr, n int) map[string]int {
	t.Helper()
	count := make(map[string]int)
	for range n {
		body, err := curl(l, url(vip, 80, "/"))
		if err != nil {
			t.Fatalf("request to %s: %v", vip, err)
		}
		m := serverName.FindStringSubmatch(body)
		if m == nil {
			t.Fatalf("request to %s: answer %q", vip, body)
		}
		count[m[1]]++
	}
	return count
}

// verdicts reads an LB node's counters.
func verdicts(t *testing.T, b *lab.LB) map[string]uint64 {
	t.Helper()
	out, err := b.Penstock("verdicts", "--all", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Name    string
		Packets uint64
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("verdicts: %v in %s", err, out)
	}
	counts := make(map[string]uint64, len(list))
	for _, v := range list {
		counts[v.Name] = v.Packets
	}
	return counts
}

// load is wrk at work on a VIP.
type load struct {
	*fixture.Process
	connections int
}

func startLoad(t *testing.T, l *lab.Lab, vip netip.Addr, d time.Duration, args ...string) load {
	t.Helper()
	const connections = 20
	argv := append([]string{"wrk", "-t1", "-c", strconv.Itoa(connections), "--timeout", "10s",
		"-d", strconv.Itoa(int(d.Seconds())) + "s"}, args...)
	return load{l.Client.Start(t, append(argv, url(vip, 80, "/"))...), connections}
}

var (
	requests = regexp.MustCompile(`(\d+) requests in`)
	failures = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	refusals = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// check waits for the end and fails the test if a single request failed.
func (w load) check(t *testing.T) {
	t.Helper()
	w.atMost(t, 0)
}

// atMost is check for where some requests may fail.
func (w load) atMost(t *testing.T, limit int) {
	t.Helper()
	if code, err := w.Wait(2 * time.Minute); err != nil || code != 0 {
		t.Fatalf("wrk: exit %d, %v\n%s", code, err, w.Output())
	}
	out := w.Output()
	m := requests.FindStringSubmatch(out)
	if m == nil || m[1] == "0" {
		t.Fatalf("wrk made no request:\n%s", out)
	}
	failed := 0
	for _, re := range []*regexp.Regexp{failures, refusals} {
		for _, digits := range append([]string{""}, re.FindStringSubmatch(out)...)[1:] {
			n, err := strconv.Atoi(digits)
			if err == nil { // the first is the whole match
				failed += n
			}
		}
	}
	if failed > limit {
		t.Errorf("%d requests failed, at most %d may:\n%s", failed, limit, out)
	}
	t.Logf("%s: %s requests, %d failed", w.Argv[len(w.Argv)-1], m[1], failed)
}
