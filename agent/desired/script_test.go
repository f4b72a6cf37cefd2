package desired_test

import (
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/manifests"
	"github.com/penstock-lb/penstock/maps"
)

var update = flag.Bool("update", false, "write what the tests see to testdata")

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// show writes a state as text.
func show(s desired.State) string {
	var b strings.Builder
	for _, svc := range s.Services {
		fmt.Fprintf(&b, "service %s", svc.Name)
		if svc.Affinity == maps.AffinityClientIP {
			b.WriteString(" by client")
		}
		b.WriteByte('\n')
		for _, fe := range svc.Frontends {
			fmt.Fprintf(&b, "  frontend %s\n", fe)
		}
		for _, be := range svc.Backends {
			fmt.Fprintf(&b, "  backend %s weight %d node %q\n", be.Addr, be.Weight, be.Node)
		}
	}
	for _, v := range s.VIPs {
		fmt.Fprintf(&b, "vip %s %s", v.Path.Prefix, v.Reason)
		if v.Detail != "" {
			fmt.Fprintf(&b, ": %s", v.Detail)
		}
		for _, name := range v.Services {
			fmt.Fprintf(&b, "\n  by %s", name)
		}
		b.WriteByte('\n')
	}
	for _, r := range s.Reasons {
		fmt.Fprintf(&b, "reason %s: %s", r.Service, r.Reason)
		if r.Subject != "" {
			fmt.Fprintf(&b, " (%s)", r.Subject)
		}
		fmt.Fprintf(&b, ": %s\n", r.Detail)
	}
	return b.String()
}

// parseSite reads lines such as "own 192.0.2.9 eth0", "peer 192.0.2.254 the
// address of BGP peer tor1" and "vips 192.0.2.0/24".
func parseSite(t *testing.T, text string) desired.Site {
	t.Helper()
	site := desired.Site{Node: "lb1", Own: map[netip.Addr]string{}, Peers: map[netip.Addr]string{}}
	for line := range strings.Lines(text) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		switch words[0] {
		case "own":
			site.Own[netip.MustParseAddr(words[1])] = words[2]
		case "peer":
			site.Peers[netip.MustParseAddr(words[1])] = words[2]
		case "vips":
			site.VIPs = append(site.VIPs, netip.MustParsePrefix(words[1]))
		default:
			t.Fatalf("site: %q", line)
		}
	}
	return site
}

// A script holds manifests, perhaps the site of node lb1, and, in want, what the
// node makes of them. The comment says what is shown.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			archive, err := txtar.ParseFile(script)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			want, site := "", desired.Site{Node: "lb1"}
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
				} else if f.Name == "site" {
					site = parseSite(t, string(f.Data))
				} else if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			snapshot, err := manifests.Read(dir, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range snapshot.Problems {
				t.Errorf("the script has a problem: %s", p)
			}
			got := show(desired.From(snapshot, site, now))
			if *update {
				archive.Files[len(archive.Files)-1] = txtar.File{Name: "want", Data: []byte(got)}
				if err := os.WriteFile(script, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}
