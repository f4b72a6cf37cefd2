package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/probe"
	"github.com/penstock-lb/penstock/bgp"
)

// Assess fills NotReady, Degraded and Warnings from the rest of the status.
//
// A VIP without a usable endpoint, and a source with a bad document, are what
// the cluster's users made of it: the document is reported as degraded because
// somebody has to mend it, the VIP is not, because its reason stands beside it.
func (s *Status) Assess() {
	s.NotReady = s.notReady()
	s.Degraded = s.degraded()
	s.Warnings = append(s.Warnings, s.warnings()...)
	if s.Warnings == nil {
		s.Warnings = []string{}
	}
}

// notReady: an agent does its work only if the tables are written, a program sees packets
// arrive and hands them on and, where routers are configured, one of them was told. A node that
// drains does as it was told: an update of the others does not wait for it.
func (s *Status) notReady() []string {
	missing := []string{}
	if s.State == Draining || s.State == Stopped {
		missing = append(missing, string(s.State))
	}
	if !s.Source.Synced {
		missing = append(missing, "source not synced")
	}
	if !s.Sync.Synced {
		missing = append(missing, "tables not synced")
	}
	if s.attached() == 0 {
		missing = append(missing, "no interface attached"+s.whyDetached())
	}
	if s.Ingress != nil && s.Source.Synced && len(s.Ingress.Own) == 0 {
		missing = append(missing, s.Ingress.noRole()) // that there are no LB nodes is not its own fault
	}
	missing = append(missing, s.notForwarded()...)
	if len(s.BGP.Peers) > 0 && s.sessions() == 0 {
		missing = append(missing, "no BGP session up"+s.whyDown())
	} else {
		for _, family := range s.untold() {
			missing = append(missing, "no BGP session up for "+family)
		}
	}
	for _, f := range s.Datapath.Forwarding {
		if f.Lost {
			missing = append(missing, f.Text)
		}
	}
	return missing
}

// whyDetached is the first thing that keeps programs from devices.
func (s *Status) whyDetached() string {
	for _, i := range s.Datapath.Interfaces {
		if i.Error != "" {
			return fmt.Sprintf(": %s: %s", i.Name, i.Error)
		}
	}
	return ""
}

// whyDown says how each session is.
func (s *Status) whyDown() string {
	var states []string
	for _, p := range s.BGP.Peers {
		states = append(states, p.Name+" is "+stateOf(p))
	}
	return ": " + strings.Join(states, "; ")
}

// notForwarded says that the loaded program forwards to no VIP, if it was asked for one. Where it
// does to others, the one has backends that can't be reached, which is its Service's affair.
func (s *Status) notForwarded() (missing []string) {
	for _, v := range s.VIPs {
		switch {
		case v.Announced:
			return nil
		case v.Reason == ProbeFailed && missing == nil:
			missing = append(missing, fmt.Sprintf("the data path forwards to no VIP; to %s: %s", v.VIP, v.Detail))
		}
	}
	return missing
}

func (s *Status) degraded() []string {
	bad := []string{}
	add := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	if s.State != Running {
		add("agent is %s", s.State)
	}
	if !s.Source.Synced {
		add("source %s is not synced", s.Source.Name)
	}
	if s.Source.Lost() {
		add("%s", s.Source.lost())
	}
	if n := len(s.Source.Problems); n > 0 {
		text := fmt.Sprintf("source: %s: %s", count(n, "problem"), s.Source.Problems[0])
		if n > 1 {
			text += fmt.Sprintf(" (and %d more)", n-1)
		}
		add("%s", text)
	}
	if s.Config.Error != "" {
		add("newest configuration not valid, the one before it stays in force: %s", strings.ReplaceAll(s.Config.Error, "\n", "; "))
	}
	if s.Sync.Error != "" {
		add("sync: %s", s.Sync.Error)
	}
	for _, i := range s.Datapath.Interfaces {
		if !i.Attached {
			add("interface %s is not attached: %s", i.Name, i.Error)
		}
	}
	for _, f := range s.Datapath.Forwarding {
		add("%s", f.Text)
	}
	for _, b := range s.Datapath.Bypassed {
		add("%s", b.Text)
	}
	bad = append(bad, s.tunnels()...)
	for _, p := range s.BGP.Peers {
		if !SessionUp(p) {
			add("BGP peer %s is %s", p.Name, stateOf(p))
		}
	}
	for _, p := range s.BGP.Problems {
		add("BGP peer %s: %s", p.Peer, p.Text)
	}
	for _, family := range s.untold() {
		add("no router has the %s routes: no session that carries them is up", family)
	}
	if s.BGP.Error != "" {
		add("BGP: %s", s.BGP.Error)
	}
	if refused := s.refused(); refused != "" {
		add("%s", refused)
	}
	if s.Datapath.SweepError != "" {
		add("sweep of flows: %s", s.Datapath.SweepError)
	}
	return bad
}

// Meanwhile says what an API server that does not answer means for what is in force.
func (s *SourceStatus) Meanwhile() string {
	if !s.Synced {
		return "this agent has read no object yet, so that it announces nothing; tables from before go on forwarding"
	}
	return "forwarding, tables and announcements stay as they are"
}

// lost says since when and why. That what is in force stays is said where it is read first.
func (s *SourceStatus) lost() string {
	l := s.API
	text := "API server " + l.Server + " does not answer"
	if !l.Since.IsZero() {
		text += " since " + l.Since.UTC().Format(time.RFC3339)
	}
	if l.Error != "" {
		text += ": " + l.Error
	}
	text += "; " + s.Meanwhile()
	if s.Synced {
		text += " until it does"
	}
	return text
}

func (s *Status) warnings() []string {
	var notes []string
	for _, i := range s.Datapath.Interfaces {
		if i.Fallback != "" {
			text, then := "generic mode, which is slow", ""
			if s.Ingress != nil {
				text, then = i.Mode+", which is slower than native XDP", "; once that has changed, restart the agent"
			}
			notes = append(notes, fmt.Sprintf("interface %s runs in %s: %s%s", i.Name, text, i.Fallback, then))
		}
	}
	if s.Tunnels != nil {
		for _, n := range s.Tunnels.Nodes {
			if n.State == probe.Silent {
				notes = append(notes, fmt.Sprintf("ingress node %s at %s is silent, and its endpoints with forwarding auto get new flows by NAT: %s", n.Name, n.Addr, n.Reason))
			}
		}
	}
	notes = append(notes, s.unwatched()...)
	if text := s.skew(); text != "" {
		notes = append(notes, text)
	}
	if len(s.Config.Restart) > 0 {
		notes = append(notes, "restart the agent to apply "+strings.Join(s.Config.Restart, ", "))
	}
	return notes
}

// tunnels says what is wrong with tunnels, at either end. A node that never answered is a
// matter of its own agent, and a warning.
func (s *Status) tunnels() (bad []string) {
	if s.Ingress != nil && s.Source.Synced {
		bad = append(bad, s.Ingress.Obstacles()...)
	}
	if s.Tunnels == nil {
		return bad
	}
	if s.Tunnels.Error != "" {
		bad = append(bad, "ingress nodes cannot be probed: "+s.Tunnels.Error)
	}
	if s.Tunnels.Open {
		bad = append(bad, "more ingress nodes are dead than tunnel.failOpen allows: all count as alive, as the fault is likely to be here: "+
			"see that tunnel.port is theirs, that they know this node, and that no firewall drops what goes to that UDP port, either way")
	}
	for _, n := range s.Tunnels.Nodes {
		if n.State == probe.Dead {
			bad = append(bad, fmt.Sprintf("ingress node %s at %s is dead: %s", n.Name, n.Addr, n.Reason))
		}
	}
	return bad
}

// refused says which services the tables did not take: the first one's error
// stands for all, because it is mostly one cause.
func (s *Status) refused() string {
	text, n := "", 0
	for _, svc := range s.Services {
		if svc.Error == "" {
			continue
		}
		if n++; n == 1 {
			text = fmt.Sprintf("service %s is refused: %s", svc.Name, svc.Error)
		}
	}
	if n > 1 {
		text += fmt.Sprintf(" (and %d more)", n-1)
	}
	return text
}

// untold returns the families with VIPs that would be announced, of which no
// router has any.
func (s *Status) untold() []string {
	var families []string
	for _, family := range []string{"ipv4", "ipv6"} {
		waiting, told := 0, 0
		for _, v := range s.VIPs {
			switch {
			case v.VIP.Is4() != (family == "ipv4"):
			case v.Announced:
				told++
			case v.Reason == NoSession:
				waiting++
			}
		}
		if waiting > 0 && told == 0 {
			families = append(families, family)
		}
	}
	return families
}

func (s *Status) attached() int {
	n := 0
	for _, i := range s.Datapath.Interfaces {
		if i.Attached {
			n++
		}
	}
	return n
}

func (s *Status) sessions() int {
	n := 0
	for _, p := range s.BGP.Peers {
		if SessionUp(p) {
			n++
		}
	}
	return n
}

// unwatched says which paths BFD was to watch and does not, although the session is up: a path that
// dies is then noticed by the hold timer alone.
func (s *Status) unwatched() (notes []string) {
	for _, p := range s.BGP.Peers {
		if !SessionUp(p) || p.BFD == nil || p.BFD.State == "up" || time.Since(p.Since) < bfdGrace {
			continue
		}
		note := fmt.Sprintf("BGP peer %s is not watched by BFD, which is %s", p.Name, p.BFD.State)
		if p.BFD.Reason != "" {
			note += ": " + p.BFD.Reason
		}
		notes = append(notes, note+"; turn BFD on at the router too, bfdMultihop where it has it so, or set bfd: false")
	}
	return notes
}

// bfdGrace is what BFD gets to come up in, once there is a session.
const bfdGrace = 5 * time.Second

// stateOf is a peer's state, with why it is not up.
func stateOf(p bgp.PeerState) string {
	if p.DownReason == "" {
		return string(p.State)
	}
	return string(p.State) + ": " + p.DownReason
}

// SessionUp tells whether the session with a peer is established.
func SessionUp(p bgp.PeerState) bool { return strings.EqualFold(string(p.State), "established") }

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
