package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/penstock-lb/penstock/test/fixture"
)

const (
	vip4, vip6 = "198.51.100.80", "2001:db8:100::80"
	torASN     = 64512
	lbASN      = 64600
	bigFile    = 64 << 20
)

var sites = []string{"shop", "blog"}

//go:embed files
var files embed.FS

// lab is the whole network. Every node hangs on the ToR router by a link of its own; the router is .1 and ::1
// on each, the node .2 and ::2.
type lab struct {
	*stage
	client, tor *fixture.Netns
	router      *fixture.FRR
	lbs         []*lbNode
	webs        []*webNode
}

// uplink is a node's side of its link to the router.
type uplink struct {
	Name                     string
	Addr4, Addr6, Tor4, Tor6 string
	netns                    *fixture.Netns
}

func buildLab(s *stage, binary string) *lab {
	l := &lab{stage: s}
	s.must(os.MkdirAll(runDir, 0o755))
	s.Cleanup(func() {
		if err := os.RemoveAll(runDir); err != nil {
			s.Errorf("remove %s: %v", runDir, err)
		}
	})
	l.tor = fixture.NewNetns(s, "tor")
	l.tor.Forward(s)
	l.client = l.attach("client", 99, false).netns
	bpffs := fixture.MountBPFFS(s)
	for i := 1; i <= 2; i++ {
		l.lbs = append(l.lbs, newLBNode(l, l.attach(fmt.Sprintf("lb%d", i), i, true), bpffs, binary))
	}
	for i := 1; i <= 3; i++ {
		l.webs = append(l.webs, newWebNode(l, l.attach(fmt.Sprintf("web%d", i), 10+i, false), i))
	}
	l.router = fixture.StartFRR(s, l.tor, l.render("tor.conf", map[string]any{
		"VIP4": "198.51.100.0", "VIP6": "2001:db8:100::", "TorASN": torASN, "LBASN": lbASN, "LBs": l.lbs,
	}))
	for _, lb := range l.lbs {
		l.writeManifests(lb)
	}
	return l
}

// attach makes a node on network number n: 10.0.n.0/24 and fd00:0:n::/64.
func (l *lab) attach(name string, n int, xdp bool) uplink {
	u := uplink{
		Name:  name,
		Addr4: fmt.Sprintf("10.0.%d.2", n), Tor4: fmt.Sprintf("10.0.%d.1", n),
		Addr6: fmt.Sprintf("fd00:0:%d::2", n), Tor6: fmt.Sprintf("fd00:0:%d::1", n),
		netns: fixture.NewNetns(l, name),
	}
	fixture.Link(l, u.netns, "eth0", l.tor, name, fixture.LinkOptions{
		AddrsA: []string{u.Addr4 + "/24", u.Addr6 + "/64"}, AddrsB: []string{u.Tor4 + "/24", u.Tor6 + "/64"},
		NoOffload: true, XDPPassB: xdp,
	})
	u.netns.AddRoute(l, "default", u.Tor4)
	u.netns.AddRoute(l, "default6", u.Tor6)
	return u
}

func (l *lab) render(name string, data any) string {
	t, err := template.ParseFS(files, "files/"+name)
	l.must(err)
	var b bytes.Buffer
	l.must(t.Execute(&b, data))
	return b.String()
}

// writeManifests gives a load balancer node what an API server would. Files appear whole, by a rename.
func (l *lab) writeManifests(lb *lbNode) {
	var nodes []uplink
	for _, w := range l.webs {
		nodes = append(nodes, w.uplink)
	}
	for name, data := range map[string]map[string]any{
		"service.yaml": {"VIP4": vip4, "VIP6": vip6},
		"slices.yaml":  {"Webs": l.webs},
		"nodes.yaml":   {"Nodes": nodes},
	} {
		path := filepath.Join(lb.Dir, "manifests", name)
		l.must(os.WriteFile(path+".new", []byte(l.render(name, data)), 0o644))
		l.must(os.Rename(path+".new", path))
	}
}

// routeTo returns the lines of the router's forwarding table for one address, nil if there is no route.
func (l *lab) routeTo(vip string) []string {
	family := "-4"
	if strings.Contains(vip, ":") {
		family = "-6"
	}
	out, err := l.tor.Output("ip", family, "route", "show", "exact", vip)
	l.must(err)
	if out = strings.TrimSpace(out); out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

// pathsTo returns the load balancer nodes that the router sends an address to.
func (l *lab) pathsTo(vip string) (via []string) {
	for _, line := range l.routeTo(vip) {
		for _, lb := range l.lbs {
			if strings.Contains(line, "via "+lb.Addr4+" ") || strings.Contains(line, "dev "+lb.Name+" ") {
				via = append(via, lb.Name)
			}
		}
	}
	return via
}
