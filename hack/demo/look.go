package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/maps"
	"github.com/penstock-lb/penstock/test/lab"
)

func stepBulk(l *site) {
	nginx := l.pods[0].nginx // all have the same file
	l.say.title("%d MiB down by IPv4, and up by IPv6, in tunnels on links of 1500 bytes", nginx.BigFile>>20)
	file := filepath.Join(l.TempDir(), "big")
	host := []string{"-sS", "--fail", "--max-time", "60", "-H", "Host: shop.example"}
	start := time.Now()
	_, err := l.Client.Output(append([]string{"curl", "-o", file, url(lab.VIP4, webPort, "/big")}, host...)...)
	l.must(err)
	down := time.Since(start)
	out, err := l.Client.Output("sha256sum", file)
	l.must(err)
	if !strings.HasPrefix(out, nginx.BigSHA256) {
		l.Fatalf("the download's SHA-256 is %s, want %s", out, nginx.BigSHA256)
	}
	start = time.Now()
	_, err = l.Client.Output(append([]string{"curl", "-T", file, url(lab.VIP6, webPort, "/files/upload")}, host...)...)
	l.must(err)
	up := time.Since(start)
	server, got := l.uploaded("upload")
	if got != nginx.BigSHA256 {
		l.Fatalf("what arrived at %s has SHA-256 %s, want %s", server, got, nginx.BigSHA256)
	}
	l.say.ok("Both arrived unharmed: down in %s, up in %s, to %s", seconds(down), seconds(up), server)
}

// uploaded finds a file that a client PUT, and returns who has it and its SHA-256.
func (l *site) uploaded(name string) (server, sum string) {
	for _, p := range l.pods {
		if content, err := p.nginx.Uploaded(name); err == nil {
			h := sha256.Sum256(content)
			return p.Name, hex.EncodeToString(h[:])
		}
	}
	l.Fatalf("no pod has the uploaded file %s", name)
	return "", ""
}

// show prints what a command says on a host, which has to succeed.
func (l *site) show(h *lab.Host, command string, max int) string {
	out, err := h.Penstock(command)
	l.must(err)
	l.say.output(h.Name, "penstock "+command, out, max)
	return out
}

func stepLook(l *site) {
	lb := l.up[0]
	l.say.title("What %s says of itself", lb.Name)
	l.awaitReady(&lb.Host)
	l.show(&lb.Host, "status", 40)
	l.show(&lb.Host, "backends", 20)
	var nodes []struct {
		Role string
		api.IngressNode
	}
	l.must(penstockJSON(&lb.Host, &nodes, "nodes"))
	alive := 0
	for _, n := range nodes {
		if n.Role == "backend" && n.State != probe.Alive {
			l.Fatalf("%s is %s: %s", n.Name, n.State, n.Reason)
		}
		if n.Role == "backend" {
			alive++
		}
	}
	if alive != len(l.Ingress) {
		l.Fatalf("it knows %d ingress nodes, want %d", alive, len(l.Ingress))
	}
	l.show(&lb.Host, "nodes", 10)
	command, out := l.bpftool(lb, "frontends",
		`.[].formatted | {vip: .key.vip[""].bytes, port: .key.port, proto: .key.proto, value}`)
	l.say.output(lb.Name, command, out, 8)
	if !strings.Contains(out, "[0,0,0,0,0,0,0,0,0,0,255,255,198,51,100,10]") || !strings.Contains(out, `"service":`) {
		l.Fatalf("the kernel's frontends lack %s by its name: %s", lab.VIP4, out)
	}
	l.say.ok("It is well (exit code 0), its ingress nodes answer in their data path, and its maps explain themselves")
}

// bpftool reads a pinned map of the node, by the field names that the map carries (BTF).
func (l *site) bpftool(n *lab.LB, name, filter string) (command, out string) {
	pins, err := filepath.Glob(filepath.Join(n.Pins(), "tables-*", name))
	l.must(err)
	if len(pins) != 1 {
		l.Fatalf("pinned maps %s of %s under %s: %v, want one", name, n.Name, n.Pins(), pins)
	}
	command = fmt.Sprintf("bpftool -j map dump pinned %s | jq -c '%s'", pins[0], filter)
	out, err = n.Output("bash", "-o", "pipefail", "-c", command)
	l.must(err)
	return command, out
}

func stepIngress(l *site) {
	g := l.Ingress[0]
	l.say.title("What %s says of itself", g.Name)
	l.awaitReady(&g.Host)
	l.show(&g.Host, "status", 40)
	var status api.Status
	l.must(penstockJSON(&g.Host, &status, "status"))
	addrs := 0
	for _, p := range l.pods {
		if p.Node != g {
			continue
		}
		for _, addr := range []netip.Addr{p.Addr4, p.Addr6} {
			addrs++
			if !slices.ContainsFunc(status.Ingress.Pods, func(known maps.Pod) bool { return known.Addr == addr }) {
				l.Fatalf("it does not know %s of %s", addr, p.Name)
			}
		}
	}
	for _, lb := range l.LBs {
		if !slices.Contains(status.Ingress.LBs, lb.Addr4) {
			l.Fatalf("it does not know %s", lb.Name)
		}
	}
	l.say.ok("It is well, and takes packets of %d LB nodes out of tunnels for %d addresses of pods", len(l.LBs), addrs)
}
