package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/test/lab"
)

// leader is the LB node whose agent leads, nil while nobody does.
func (s *site) leader() *lab.LB {
	s.t.Helper()
	lease, err := s.api.Client.CoordinationV1().Leases(system).Get(s.t.Context(), "penstock-leader", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return nil
	}
	for _, b := range s.LBs {
		if strings.HasPrefix(*lease.Spec.HolderIdentity, b.Name) {
			return b
		}
	}
	return nil
}

// waitLeader waits until another one than former leads.
func (s *site) waitLeader(former *lab.LB) {
	s.t.Helper()
	s.wait("another leader than "+former.Name, func() error {
		if l := s.leader(); l == former || l == nil {
			return errors.New("there is none")
		}
		return nil
	})
}

// same fails the test if a Service has other addresses than before.
func (s *site) same(name string, want []netip.Addr) {
	s.t.Helper()
	if got := s.addresses(name); !slices.Equal(got, want) {
		s.t.Errorf("%s has %v now, it had %v", name, got, want)
	}
}

// TestLeaderKilled has another agent lead, under load, with the same addresses.
func TestLeaderKilled(t *testing.T) {
	t.Parallel() // it waits, mostly
	s := newSite(t, lab.Options{})
	s.addPods("web", 3)
	s.startAll()
	vips := s.served("web")
	s.waitAnswer(vips...)
	load := s.startLoad(vips)
	killed := s.leader()
	if killed == nil {
		t.Fatal("nobody leads, and there are addresses")
	}
	killed.KillAgent(t)
	start := time.Now()
	s.waitLeader(killed)
	// Written by the new leader; the router has one way to it.
	s.addPod("late", 0)
	s.apply(webYAML("late"))
	late := s.waitAddresses("late", 2)
	t.Logf("an address from the new leader %s after the old one was killed", time.Since(start).Round(time.Millisecond))
	s.waitRoutes(late, 1)
	s.waitAnswer(late...)
	killed.StartAgent(t)
	killed.WaitAgent(t)
	s.waitRoutes(late, 2)
	s.waitRoutes(vips, 2)
	s.same("web", vips)
	s.same("late", late)
	load.Check()
}

// TestLeaderPaused stops the leader's process for so long that another one leads, changes who has
// which address, and lets it go on: it may undo nothing.
func TestLeaderPaused(t *testing.T) {
	t.Parallel() // it waits, mostly
	s := newSite(t, lab.Options{})
	s.addPods("web", 3)
	s.startAll()
	vips := s.served("web")
	s.apply(webYAML("first"))
	first := s.waitAddresses("first", 2)
	s.waitAnswer(vips...)
	load := s.startLoad(vips)
	paused := s.leader()
	// With work before it that it can't finish.
	s.apply(webYAML("open"))
	if err := paused.Agent.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.waitLeader(paused)
	s.api.Kubectl(t, "", "delete", "service", "first")
	s.apply(strings.Replace(annotated("heir", "penstock.dev/ips", first[0].String()+","+first[1].String()), "app: heir", "app: web", 1))
	if got := s.waitAddresses("heir", 2); !slices.Equal(got, first) {
		t.Errorf("heir has %v, it wants %v", got, first)
	}
	open := s.waitAddresses("open", 2)
	s.more(load, 200)
	if err := paused.Agent.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.waitRoutes(vips, 2)
	s.waitRoutes(first, 2)
	s.waitAnswer(first...)
	s.same("web", vips)
	s.same("heir", first)
	s.same("open", open)
	load.Check()
}

// status is what `penstock status` says of a host.
func status(h *lab.Host) (st api.Status, err error) {
	out, err := h.Penstock("status", "-o", "json")
	if out == "" {
		return st, err // an exit code that is not 0 may mean a warning
	}
	return st, json.Unmarshal([]byte(out), &st)
}

// noticed is how soon an agent knows that the API server is away.
const noticed = 20 * time.Second

// disconnected tells why a host's status does not say that the API server is away since then.
func disconnected(h *lab.Host, since time.Time) error {
	st, err := status(h)
	switch {
	case err != nil:
		return err
	case !st.Source.Lost():
		return fmt.Errorf("%s says of the API server: %+v", h.Name, st.Source)
	case st.Source.API.Since.Sub(since).Abs() > noticed:
		return fmt.Errorf("%s says that it is away since %s, it is since %s", h.Name, st.Source.API.Since, since)
	}
	return nil
}

// outage is how long the API server is away.
func outage() time.Duration {
	if testing.Short() {
		return 5 * time.Second
	}
	return time.Minute
}

// TestAPIServerOutage stops the API server for a minute, with agents that start meanwhile, and
// starts it on the same data. Nobody outside notices.
func TestAPIServerOutage(t *testing.T) {
	t.Parallel() // it waits, mostly
	s := newSite(t, lab.Options{})
	s.addPods("web", 3)
	s.startAll()
	vips := s.served("web")
	s.waitAnswer(vips...)
	load := s.startLoad(vips)
	s.wait("the copies of the objects", func() error { return copied(&s.LBs[0].Host, vips) })
	s.api.Stop()
	stopped := time.Now()
	for _, h := range s.Hosts() {
		s.wait("the agent of "+h.Name+" to notice", func() error { return disconnected(h, stopped) })
	}
	// An agent that starts now goes on from its copy of the objects, and announces what it had.
	restarted := &s.LBs[0].Host
	restarted.KillAgent(t)
	restarted.StartAgent(t)
	restarted.WaitAgent(t)
	s.wait("the agent of "+restarted.Name+" to announce without an API server", func() error {
		st, err := status(restarted)
		if err != nil {
			return err
		}
		for _, v := range st.VIPs {
			if slices.Contains(vips, v.VIP) && !v.Announced {
				return fmt.Errorf("VIP %s: %s %s", v.VIP, v.Reason, v.Detail)
			}
		}
		if len(st.VIPs) < len(vips) || !st.Source.Lost() || len(st.Source.Problems) == 0 {
			return fmt.Errorf("%d VIPs, source %+v", len(st.VIPs), st.Source)
		}
		return nil
	})
	time.Sleep(time.Until(stopped.Add(outage())))
	for _, h := range s.Hosts() {
		if err := disconnected(h, stopped); err != nil && h.Name != s.LBs[0].Name {
			t.Error(err)
		}
	}
	hops, err := s.Routes(vips[0])
	t.Logf("at the end of the outage the router has %v, %v; the agent of %s was restarted in it", hops, err, s.LBs[0].Name)
	s.api.Restart(t)
	back := time.Now()
	s.ready = back
	for _, h := range s.Hosts() {
		s.wait("the agent of "+h.Name+" to be connected", func() error {
			st, err := status(h)
			if err == nil && st.Source.Lost() {
				err = fmt.Errorf("%+v", st.Source)
			}
			return err
		})
	}
	t.Logf("all agents connected %s after the API server was back", time.Since(back).Round(time.Millisecond))
	// The world moves on.
	s.addPod("late", 0)
	late := s.served("late")
	s.waitAnswer(late...)
	s.same("web", vips)
	load.Check()
}

// copied says what of the VIPs a host's copy of the objects has not.
func copied(h *lab.Host, vips []netip.Addr) error {
	text, err := os.ReadFile(h.Copy())
	for _, v := range vips {
		if err == nil && !strings.Contains(string(text), `"`+v.String()+`"`) {
			err = fmt.Errorf("nothing of %s in %s", v, h.Copy())
		}
	}
	return err
}

// TestPartition cuts the leader off from the API server: it goes on with what it has, and the
// other one leads and follows what changes.
func TestPartition(t *testing.T) {
	t.Parallel() // it waits, mostly
	s := newSite(t, lab.Options{})
	s.addPods("web", 3)
	s.startAll()
	vips := s.served("web")
	s.waitAnswer(vips...)
	load := s.startLoad(vips)
	off := s.leader()
	s.relays[off.Name].Cut(true)
	s.waitLeader(off)
	s.apply(webYAML("late"))
	s.addPod("late", 1)
	late := s.waitAddresses("late", 2)
	s.waitRoutes(late, 1)
	s.waitAnswer(late...)
	s.relays[off.Name].Cut(false)
	s.waitRoutes(late, 2)
	s.same("web", vips)
	s.same("late", late)
	load.Check()
}
