package netns

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// TestTraffic is what a VIP is for: requests, bulk both ways, datagrams.
func TestTraffic(t *testing.T) {
	l := site(t, lab.Options{LBs: 2, Nodes: 3})
	for name, vip := range vips {
		t.Run(name+"/spread", func(t *testing.T) {
			count := servers(t, l, vip, 60)
			for _, n := range l.Nodes {
				if count[n.Name] == 0 {
					t.Errorf("60 requests, none to %s: %v", n.Name, count)
				}
			}
		})
		t.Run(name+"/download", func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "big")
			if _, err := curl(l, "-o", file, url(vip, 80, "/big")); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(b)
			if got := hex.EncodeToString(sum[:]); got != l.Nodes[0].Nginx.BigSHA256 {
				t.Errorf("%d bytes with digest %s, want %s", len(b), got, l.Nodes[0].Nginx.BigSHA256)
			}
		})
		t.Run(name+"/upload", func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "up")
			if err := os.WriteFile(file, bytes.Repeat([]byte("penstock"), 1<<20), 0o644); err != nil {
				t.Fatal(err)
			}
			body, err := curl(l, "--data-binary", "@"+file, url(vip, 80, "/upload"))
			if want := fmt.Sprintf("received=%d", 8<<20); err != nil || !strings.Contains(body, want) {
				t.Errorf("answer %q, %v, want %s", body, err, want)
			}
		})
	}
}

func TestUDP(t *testing.T) {
	l := lab.New(t, lab.Options{LBs: 2, Nodes: 2})
	s := lab.Service{Name: "echo", Port: 53, Target: 5353, Protocol: "UDP"}
	for _, n := range l.Nodes {
		for _, addr := range []netip.Addr{n.Addr4, n.Addr6} {
			fixture.StartUDPEcho(t, n.Netns, n.Name, netip.AddrPortFrom(addr, s.Target))
			s.Endpoints = append(s.Endpoints, lab.Endpoint{Addr: addr, Ready: true})
		}
	}
	l.Apply(t, s)
	for _, b := range l.LBs {
		b.StartAgent(t)
	}
	l.WaitRoutes(t, 2)
	for name, vip := range vips {
		for _, size := range []int{1, 1200, 4000, 20000} { // from 1473 on in fragments, both ways
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				echo(t, l, netip.AddrPortFrom(vip, s.Port), size)
			})
		}
	}
}

func echo(t *testing.T, l *lab.Lab, vip netip.AddrPort, size int) {
	t.Helper()
	conn, err := l.Client.DialContext(t.Context(), "udp", vip.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	want := bytes.Repeat([]byte("x"), size)
	got := make([]byte, size+100)
	for range 3 { // a flow stays where it is
		if _, err := conn.Write(want); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := conn.Read(got)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(got[:n], append([]byte(" "), want...)) || n > size+100 {
			t.Fatalf("%d bytes sent, %d came back: %.60q", size, n, got[:n])
		}
	}
}

// TestVIPAnswers is about what is not forwarded: pings, and ports that nothing is on.
func TestVIPAnswers(t *testing.T) {
	l := site(t, lab.Options{LBs: 1, Nodes: 1})
	for name, vip := range vips {
		t.Run(name+"/ping", func(t *testing.T) {
			for _, size := range []string{"56", "4000"} {
				if _, err := l.Client.Output("ping", "-c", "3", "-i", "0.2", "-W", "5", "-s", size, vip.String()); err != nil {
					t.Error(err)
				}
			}
		})
		t.Run(name+"/refused", func(t *testing.T) {
			before := verdicts(t, l.LBs[0])["reject_port"]
			_, err := l.Client.DialContext(t.Context(), "tcp", netip.AddrPortFrom(vip, 81).String())
			if err == nil || !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("port 81: %v", err)
			}
			if after := verdicts(t, l.LBs[0])["reject_port"]; after <= before {
				t.Errorf("reject_port went from %d to %d", before, after)
			}
		})
		t.Run(name+"/traceroute", func(t *testing.T) {
			out, err := l.Client.Output("traceroute", "-n", "-q", "1", "-w", "2", "-m", "8", vip.String())
			if err != nil || !strings.Contains(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:], vip.String()) {
				t.Errorf("%v\n%s", err, out)
			}
			out, err = l.Client.Output("traceroute", "-n", "-q", "1", "-w", "2", "-m", "8", "-T", "-p", "80", vip.String())
			lb := l.LBs[0].Addr4
			if vip.Is6() {
				lb = l.LBs[0].Addr6
			}
			if err != nil || !strings.Contains(out, lb.String()) || !strings.Contains(out, " "+vip.String()) {
				t.Errorf("the way to port 80 is by %s to %s: %v\n%s", lb, vip, err, out)
			}
		})
	}
}

// TestPathMTU puts a narrow hop first behind the LB node, then before it. Both
// ways the sender has to learn of it from an ICMP error that was translated.
func TestPathMTU(t *testing.T) {
	for _, side := range []string{"backend", "client"} {
		t.Run(side, func(t *testing.T) {
			l := site(t, lab.Options{LBs: 1, Nodes: 1})
			dev, net4, net6 := "node1", "10.1.1.0/24", "fd00:1:1::/64"
			if side == "client" {
				dev, net4, net6 = "client", "192.0.2.0/24", "2001:db8:1::/64"
			}
			l.Router.Run(t, "ip", "route", "replace", net4, "dev", dev, "mtu", "lock", "1400")
			l.Router.Run(t, "ip", "-6", "route", "replace", net6, "dev", dev, "metric", "256", "mtu", "lock", "1400")
			for name, vip := range vips {
				verdict, args := "icmp_reply", []string{"--data-binary", "@" + bigFile(t), url(vip, 80, "/upload")}
				if side == "client" {
					verdict, args = "icmp_forward", []string{"-o", os.DevNull, url(vip, 80, "/big")}
				}
				before := verdicts(t, l.LBs[0])[verdict]
				if _, err := curl(l, args...); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if after := verdicts(t, l.LBs[0])[verdict]; after == before {
					t.Errorf("%s: no %s, so no ICMP error was translated", name, verdict)
				}
			}
		})
	}
}

func bigFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "up")
	if err := os.WriteFile(file, bytes.Repeat([]byte("penstock"), 1<<18), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAffinity(t *testing.T) {
	l := lab.New(t, lab.Options{LBs: 1, Nodes: 3})
	web := lab.Web(l.Nodes...)
	web.Affinity = "ClientIP"
	l.Apply(t, web)
	l.LBs[0].StartAgent(t)
	l.WaitRoutes(t, 1)
	for name, vip := range vips {
		if count := servers(t, l, vip, 20); len(count) != 1 {
			t.Errorf("%s: one client's requests went to %v", name, count)
		}
	}
}
