package maps

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/bpf"
)

// probes is how many flows are tried before a frontend counts as one that does not forward:
// one of its backends may have no way while the others have.
const probes = 8

// ProbeResult is what became of a packet to a frontend.
type ProbeResult struct {
	Forwards bool
	Verdict  string // why not: the verdicts' names, as in VerdictCount
}

// Probe has the loaded program place a new flow to a frontend of a service, as if it had come in
// by a device, and tells whether it goes to a backend. The error says that nothing could be tried.
//
// The packet is one that a client could send: a SYN, or a datagram, from a benchmark's address
// (RFC 2544, RFC 5180) or, where sources are restricted, from one that is served. It goes nowhere,
// and its flow, if it is to be translated, is removed at once. What stays is one packet in the
// counters of a verdict and of a backend, for each flow that is tried, and a new flow in the latter.
func (t *Tables) Probe(s Service, f Frontend, ifindex uint32) (ProbeResult, error) {
	clients := clientsOf(s, f.VIP)
	if len(clients) == 0 {
		return ProbeResult{Verdict: "drop_source_range"}, nil
	}
	var last probe
	for i := range probes {
		p := probe{Frontend: f, client: netip.AddrPortFrom(clients[i%len(clients)], uint16(i+1))}
		switch busy, err := t.has(p.tuple()); {
		case err != nil:
			return ProbeResult{}, err
		case busy: // a client's, who is to keep it
			continue
		}
		end, err := t.try(p, ifindex)
		if err != nil {
			return ProbeResult{}, err
		}
		if end.forwarded(p) {
			return ProbeResult{Forwards: true}, nil
		}
		if last = p; end.rejected(p) { // as any other would be
			break
		}
	}
	if !last.client.IsValid() {
		return ProbeResult{}, fmt.Errorf("frontend %s: clients have all flows that it could be probed with", f)
	}
	verdicts, err := t.verdictsOf(last, ifindex)
	if err != nil {
		return ProbeResult{}, err
	}
	for _, v := range verdicts {
		if slices.Contains(full, v) {
			return ProbeResult{}, fmt.Errorf("probe frontend %s: %s: there is no room for new flows, see nat.ports and nat.maxFlows", f, v)
		}
	}
	return ProbeResult{Verdict: strings.Join(verdicts, " or ")}, nil
}

// full are the verdicts of a node that has all the flows that it can have. They say nothing of the
// way to the backends. Withdrawing a VIP for them would end its flows, and in a flood do so on all
// LB nodes at once.
var full = []string{"drop_ports_exhausted", "drop_flow_table"}

// outcome is what the program made of a frame.
type outcome struct {
	action bpf.Action
	dst    netip.Addr
}

func (o outcome) sent() bool {
	return o.action == bpf.Transmit || o.action == bpf.Redirect || o.action == bpf.Pass
}

// forwarded tells whether the packet goes to a third party: a backend, or its node.
func (o outcome) forwarded(p probe) bool {
	return o.sent() && o.dst.IsValid() && o.dst != p.VIP && o.dst != p.client.Addr()
}

// rejected tells whether the client got an answer.
func (o outcome) rejected(p probe) bool { return o.sent() && o.dst == p.client.Addr() }

// try runs the program on a probe, and removes the flow that it made.
func (t *Tables) try(p probe, ifindex uint32) (outcome, error) {
	action, out, err := t.run(p.frame(), ifindex)
	if err := errors.Join(err, t.forget(p.tuple())); err != nil {
		return outcome{}, fmt.Errorf("probe frontend %s: %w", p.Frontend, err)
	}
	return outcome{action, destination(out)}, nil
}

// has tells whether there is a flow of that tuple.
func (t *Tables) has(key bpf.Tuple) (bool, error) {
	var f bpf.Flow
	err := t.m.flows.Lookup(key, &f)
	return err == nil, ignoreMissing(err)
}

// forget removes both halves of a flow, the client's last: as long as it is there, nobody
// else gets the port.
func (t *Tables) forget(key bpf.Tuple) error {
	var f bpf.Flow
	if err := t.m.flows.Lookup(key, &f); err != nil {
		return ignoreMissing(err)
	}
	other := bpf.Tuple{Src: f.Dst, Dst: f.Src, Sport: f.Dport, Dport: f.Sport, Proto: key.Proto}
	return errors.Join(ignoreMissing(t.m.flows.Delete(other)), ignoreMissing(t.m.flows.Delete(key)))
}

// verdictsOf tries a probe that is not forwarded once more, and names the counter that moved.
// The program says the action alone, and other packets move counters as well: of those that
// moved all count that have the action.
func (t *Tables) verdictsOf(p probe, ifindex uint32) (names []string, err error) {
	before, err := t.Verdicts()
	if err != nil {
		return nil, err
	}
	end, err := t.try(p, ifindex)
	if err != nil {
		return nil, err
	}
	after, err := t.Verdicts()
	if err != nil {
		return nil, err
	}
	for i, v := range after {
		if v.Packets != before[i].Packets && slices.Contains(actionsOf(end, p), v.Action) {
			names = append(names, v.Name)
		}
	}
	return names, nil
}

// actionsOf gives the kinds of verdicts that a probe with that end can have had.
func actionsOf(end outcome, p probe) []string {
	switch {
	case end.action == bpf.Aborted:
		return []string{"abort"}
	case end.action == bpf.Drop:
		return []string{"drop"}
	case end.rejected(p):
		return []string{"reject"}
	case end.forwarded(p):
		return []string{"forward", "encap"}
	}
	return []string{"pass"}
}

// clientsOf gives addresses of clients that a service is for, at most one for each flow to try.
func clientsOf(s Service, vip netip.Addr) (out []netip.Addr) {
	bench := netip.MustParsePrefix("198.18.0.0/15") // RFC 2544
	if vip.Is6() {
		bench = netip.MustParsePrefix("2001:2::/48") // RFC 5180
	}
	ranges := []netip.Prefix{bench}
	if s.Restricted && !slices.ContainsFunc(s.Sources, func(r netip.Prefix) bool { return r.Bits() <= bench.Bits() && r.Contains(bench.Addr()) }) {
		ranges = s.Sources
	}
	for i := 0; len(ranges) > 0 && len(out) < probes; i++ {
		r := ranges[i%len(ranges)]
		addr := r.Masked().Addr()
		for range i/len(ranges) + 1 { // the first one of a network is hardly a host's
			if next := addr.Next(); next.IsValid() && r.Contains(next) {
				addr = next
			}
		}
		out = append(out, addr)
	}
	return out
}
