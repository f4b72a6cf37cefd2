package desired_test

import (
	"flag"
	"fmt"
	"log/slog"
	stdmaps "maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/config"
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
	"github.com/penstock-lb/penstock/agent/manifests"
	"github.com/penstock-lb/penstock/bgp"
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
		if svc.Restricted {
			fmt.Fprintf(&b, "  only %s\n", svc.Sources)
		}
		for _, be := range svc.Backends {
			fmt.Fprintf(&b, "  backend %s weight %d", be.Addr, be.Weight)
			if be.Draining {
				b.WriteString(" draining")
			}
			fmt.Fprintf(&b, " node %q", be.Node)
			if be.Tunnel.IsValid() {
				fmt.Fprintf(&b, " via %s", be.Tunnel)
			}
			for _, at := range []struct {
				what string
				t    time.Time
			}{{"born", be.BornAt}, {"eligible since", be.EligibleSince}, {"lost", be.LostAt}} {
				if !at.t.IsZero() {
					fmt.Fprintf(&b, " %s %s", at.what, at.t.UTC().Format(time.TimeOnly))
				}
			}
			b.WriteByte('\n')
		}
	}
	b.WriteString(showTunnels(s))
	if s.Drain != "" {
		fmt.Fprintf(&b, "drains: %s\n", s.Drain)
	}
	for _, v := range s.VIPs {
		fmt.Fprintf(&b, "vip %s %s", v.Path.Prefix, v.Reason)
		if v.Detail != "" {
			fmt.Fprintf(&b, ": %s", v.Detail)
		}
		for _, name := range v.Services {
			fmt.Fprintf(&b, "\n  by %s", name)
		}
		b.WriteString(showOffers(v))
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

// showOffers leaves out a path that all are told without attributes.
func showOffers(v desired.VIP) string {
	var b strings.Builder
	for _, o := range v.Path.Offers {
		b.WriteString("\n  offer" + showOffer(o))
	}
	if v.Suppressed {
		b.WriteString("\n  suppressed")
	}
	for _, a := range v.Aggregates {
		fmt.Fprintf(&b, "\n  aggregate %s by entry %d%s", a.Prefix, a.Entry, showOffer(a.Offer))
	}
	return b.String()
}

func showOffer(o bgp.Offer) string {
	text := " peers=all"
	if len(o.Peers) > 0 {
		text = " peers=" + strings.Join(o.Peers, ",")
	}
	for _, c := range o.Communities {
		text += " community=" + c.String()
	}
	for _, c := range o.LargeCommunities {
		text += " large=" + c.String()
	}
	if o.LocalPref != nil {
		text += fmt.Sprint(" local-pref=", *o.LocalPref)
	}
	if o.MED != nil {
		text += fmt.Sprint(" med=", *o.MED)
	}
	if o.Prepend != 0 {
		text += fmt.Sprint(" prepend=", o.Prepend)
	}
	if o.Bandwidth != 0 {
		text += fmt.Sprint(" bandwidth=", o.Bandwidth)
	}
	return text
}

// showTunnels leaves out the modes of backends where nothing has to do with tunnels.
func showTunnels(s desired.State) string {
	var b strings.Builder
	for _, be := range s.Backends {
		if len(s.Members) > 0 || be.Mode != desired.ModeNAT || be.Reason == desired.AskedFor {
			fmt.Fprintf(&b, "%s of %s: %s: %s: %s\n", be.Addr, be.Service, be.Mode, be.Reason, be.Detail)
		}
	}
	for _, m := range s.Members {
		fmt.Fprintf(&b, "member %s self %v lb %v backend %v\n", m.Addr, m.Self, m.LB, m.Backend)
	}
	for _, n := range s.Nodes {
		fmt.Fprintf(&b, "ingress node %s at %s from %s\n", n.Name, n.Tunnel, s.Source(n.Tunnel))
	}
	for _, a := range slices.SortedFunc(stdmaps.Keys(s.Dead), netip.Addr.Compare) {
		fmt.Fprintf(&b, "dead %s\n", a)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "! %s\n", p)
	}
	return b.String()
}

// parseSite reads lines such as "own 192.0.2.9 eth0", "peer 192.0.2.254 the
// address of BGP peer tor1", "vips 192.0.2.0/24", "forwarding dsr", "answering
// 10.1.0.1", "sticky 10.1.0.2", "failopen", "explicit" (about classes), "allocated", "capacity 256 1024", "pool edge
// 192.0.2.0/24,2001:db8::/64 shop", "tunnelport 6082",
// "lbnodes edge=yes" and, since half a minute, "dead 10.1.0.3".
func parseSite(t *testing.T, text string) desired.Site {
	t.Helper()
	site := desired.Site{
		Node: "lb1", DefaultClass: true, Own: map[netip.Addr]string{}, Peers: map[netip.Addr]string{},
		Answering: map[netip.Addr]bool{}, Sticky: map[netip.Addr]bool{}, Dead: map[netip.Addr]time.Time{},
	}
	for line := range strings.Lines(text) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		switch words[0] {
		case "own":
			site.Own[netip.MustParseAddr(words[1])] = words[2]
		case "peer":
			site.Peers[netip.MustParseAddr(words[1])] = words[2]
		case "vips":
			site.VIPs = append(site.VIPs, netip.MustParsePrefix(words[1]))
		case "forwarding":
			site.Forwarding = desired.Forwarding(words[1])
		case "answering":
			site.Answering[netip.MustParseAddr(words[1])] = true
		case "sticky":
			site.Sticky[netip.MustParseAddr(words[1])] = true
		case "capacity":
			if _, err := fmt.Sscan(strings.Join(words[1:], " "), &site.Capacity.Tables, &site.Capacity.Frontends); err != nil {
				t.Fatalf("site: %q: %s", line, err)
			}
		case "allocated":
			site.Allocated = true
		case "pool":
			site.Pools = append(site.Pools, parsePool(words[1], strings.Split(words[2], " ")))
		case "namespace": // of parseNamespaces
		case "explicit":
			site.DefaultClass = false
		case "tunnelport":
			port, err := strconv.ParseUint(words[1], 10, 16)
			if err != nil {
				t.Fatalf("site: %q", line)
			}
			site.TunnelPort = uint16(port)
		case "placement":
			site.Placement, site.Allocation = words[1], words[1]
		case "lbnodes":
			selector, err := labels.Parse(strings.Join(words[1:], " "))
			if err != nil {
				t.Fatalf("site: %q: %s", line, err)
			}
			site.LBNodes = chooser{selector}
		case "failopen":
			site.FailOpen = true
		case "dead":
			site.Dead[netip.MustParseAddr(words[1])] = now.Add(-30 * time.Second)
		default:
			t.Fatalf("site: %q", line)
		}
	}
	return site
}

// parseNamespaces reads lines of a site such as "namespace shop team=shop".
func parseNamespaces(text string) (out []*corev1.Namespace) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); words[0] == "namespace" {
			name, value, _ := strings.Cut(words[2], "=")
			out = append(out, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: words[1], Labels: map[string]string{name: value}}})
		}
	}
	return out
}

// parsePool reads networks, separated by a comma, and perhaps the namespace and a label of
// Namespaces that the pool is for.
func parsePool(name string, words []string) ipam.Pool {
	p := ipam.Pool{Name: name}
	for network := range strings.SplitSeq(words[0], ",") {
		p.Ranges = append(p.Ranges, ipam.RangeOf(netip.MustParsePrefix(network)))
	}
	if len(words) > 1 && strings.Contains(words[1], "=") {
		p.NamespaceSelector = chooser{labels.Set{strings.Split(words[1], "=")[0]: strings.Split(words[1], "=")[1]}.AsSelector()}
	} else if len(words) > 1 {
		p.Namespaces = []string{words[1]}
	}
	return p
}

// chooser is an ipam.Selector.
type chooser struct{ labels.Selector }

func (c chooser) Matches(set map[string]string) bool { return c.Selector.Matches(labels.Set(set)) }

// A script holds manifests, perhaps the site of node lb1 and the configuration of what it
// advertises, and, in want, what the node makes of them. The comment says what is shown.
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
			want, site := "", desired.Site{Node: "lb1", DefaultClass: true}
			var namespaces []*corev1.Namespace
			var advertised advertise.Policy
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
				} else if f.Name == "site" {
					site, namespaces = parseSite(t, string(f.Data)), parseNamespaces(string(f.Data))
				} else if f.Name == "config" {
					cfg, err := config.Parse("config", f.Data, nil)
					if err != nil {
						t.Fatal(err)
					}
					advertised = cfg.Advertised(1_250_000_000)
				} else if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			site.Advertised = advertised
			snapshot, err := manifests.Read(dir, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			snapshot.Namespaces = namespaces
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
