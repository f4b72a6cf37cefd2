package model

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/penstock-lb/penstock/test/packet"
)

const (
	ownTTL   = 64  // of what the load balancer itself says
	quoteMax = 128 // bytes of a packet that its errors quote
)

func (m *Model) icmp(p *parsed, observed []byte) (Result, error) {
	vip := m.vips[p.dst]
	about := isError(p) && p.part == whole
	switch {
	case p.bounced: // only an error can be
	case !vip && p.part == later:
		return pass(p.frame, "pass_not_vip"), nil
	case vip && (p.part == later || isEchoRequest(p)):
		return m.echo(p), nil
	case about:
		if r, ok := m.translate(p); ok {
			return r, nil
		}
	}
	switch {
	case vip && about:
		return m.placeError(p, observed), nil
	case vip || p.bounced:
		return drop("drop_icmp"), nil
	}
	return pass(p.frame, "pass_not_vip"), nil
}

// placeError sends an error about a pod's packet to the node where the pod is.
func (m *Model) placeError(p *parsed, observed []byte) Result {
	quoted, ok := parseQuote(p)
	if !ok || quoted.src != p.dst {
		return drop("drop_icmp")
	}
	t := tuple{netip.AddrPortFrom(quoted.dst, quoted.dport), netip.AddrPortFrom(quoted.src, quoted.sport), quoted.proto}
	s := m.serviceOf(t)
	switch {
	case s == nil:
		return drop("drop_icmp")
	case !s.admits(t.src.Addr()): // the client is whom the quoted packet went to
		return drop("drop_source_range")
	case s.table == nil:
		return drop("drop_icmp")
	}
	o, ok := m.choose(p, s, t)
	if !ok || !o.Tunnel.IsValid() {
		return drop("drop_icmp")
	}
	r := m.encap(p, t, o, observed)
	if r.Verdict == "encap" {
		r.Verdict = "icmp_forward"
	}
	return r
}

func isEchoRequest(p *parsed) bool {
	if p.ipv6() {
		return p.icmpType == 128
	}
	return p.icmpType == 8
}

// isError says whether the message quotes a packet. Source Quench is deprecated
// (RFC 6633), and a Redirect is for the one who gets it.
func isError(p *parsed) bool {
	if p.ipv6() {
		return p.icmpType >= 1 && p.icmpType <= 4
	}
	return p.icmpType == 3 || p.icmpType == 11 || p.icmpType == 12
}

// echo answers a ping. Fragments are answered one by one: the checksum is in the
// first.
func (m *Model) echo(p *parsed) Result {
	if !isHost(p.src) {
		return drop("drop_source")
	}
	b := slices.Concat(p.frame[6:12], p.frame[:6], p.frame[12:])
	readdress(b[p.l3:], p.dst, p.src, ownTTL)
	if p.part != later {
		message := b[p.l4:p.end]
		before := slices.Clone(message)
		message[0] = 0
		if p.ipv6() {
			message[0] = 129
		}
		sumChange{}.and(before, message).apply(message[2:], 0)
		m.remember(p)
	}
	return Result{Verdict: "icmp_echo", Action: TX, Frame: b}
}

// translate sends an error about a packet that we sent to the one whose packet it
// was before. It is false if the error is about none of ours.
func (m *Model) translate(p *parsed) (Result, bool) {
	quoted, ok := parseQuote(p)
	if !ok || quoted.src != p.dst || p.ttl <= 1 {
		return Result{}, false
	}
	// What the quoted packet was before it came through here.
	sent := tuple{netip.AddrPortFrom(quoted.src, quoted.sport), netip.AddrPortFrom(quoted.dst, quoted.dport), quoted.proto}
	answer := tuple{sent.dst, sent.src, sent.proto}
	var before tuple
	verdict := "icmp_forward"
	f := m.requests[answer]
	if f != nil {
		s := m.serviceOf(answer)
		if s == nil || !s.has(f.backend) {
			return Result{}, false
		}
		if !s.admits(answer.src.Addr()) {
			return drop("drop_source_range"), true
		}
		before = f.reply()
	} else if f = m.replies[answer]; f != nil {
		before, verdict = f.request, "icmp_reply"
	} else {
		return Result{}, false
	}
	if f.node.Port() == 0 {
		return Result{Unsure: true}, true
	}
	// The error goes to the quoted packet's sender, as if from whom that was sent to.
	route := m.route(before.dst.Addr(), before.src.Addr(), p.length())
	if route.Kind == RouteNone || route.Kind == RouteTooBig && p.dontFragment {
		return drop("drop_no_route"), true
	}
	r := m.leave(p, restore(p, quoted, before), route, verdict, verdict)
	r.Unsure = f.replaced
	return r, true
}

// parseQuote parses the packet that an error quotes, as far as it does.
func parseQuote(p *parsed) (*parsed, bool) {
	ip := p.frame[p.l4+8 : p.end]
	q := &parsed{frame: p.frame, l3: p.l4 + 8, end: p.end}
	switch {
	case !p.ipv6() && len(ip) >= 20 && ip[0]>>4 == 4 && ip[0]&15 >= 5:
		q.parseIPv4(ip)
	case p.ipv6() && len(ip) >= 40 && ip[0]>>4 == 6:
		q.src, q.dst = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
		q.proto, q.l4 = ip[6], q.l3+40
	default:
		return nil, false
	}
	q.end = p.end
	if q.part == later || q.proto != protoTCP && q.proto != protoUDP || q.l4+8 > q.end {
		return nil, false
	}
	q.sport, q.dport = binary.BigEndian.Uint16(p.frame[q.l4:]), binary.BigEndian.Uint16(p.frame[q.l4+2:])
	return q, true
}

// restore is the error's frame with the quoted packet as it was before, from
// before.src to before.dst, and the error itself going the other way.
func restore(p, q *parsed, before tuple) []byte {
	b := slices.Clone(p.frame)
	message := slices.Clone(b[p.l4:p.end])

	ports := slices.Clone(b[q.l4 : q.l4+4])
	binary.BigEndian.PutUint16(b[q.l4:], before.src.Port())
	binary.BigEndian.PutUint16(b[q.l4+2:], before.dst.Port())
	change := sumChange{pseudo(q.src, q.dst), pseudo(before.src.Addr(), before.dst.Addr())}.and(ports, b[q.l4:q.l4+4])
	if q.proto == protoUDP {
		change.apply(b[q.l4+6:], protoUDP)
	} else if q.l4+18 <= q.end {
		change.apply(b[q.l4+16:], protoTCP)
	}
	ttl := b[q.l3+8]
	if p.ipv6() {
		ttl = b[q.l3+7]
	}
	readdress(b[q.l3:], before.src.Addr(), before.dst.Addr(), ttl)

	readdress(b[p.l3:], before.dst.Addr(), before.src.Addr(), p.ttl-1)
	outer := sumChange{}.and(message, b[p.l4:p.end])
	if p.ipv6() {
		outer.before += pseudo(p.src, p.dst)
		outer.after += pseudo(before.dst.Addr(), before.src.Addr())
	}
	outer.apply(b[p.l4+2:], 0)
	return b
}

func (m *Model) unreachable(p *parsed, why string) Result {
	if !m.cfg.Reject {
		return drop("drop_" + why)
	}
	if p.ipv6() {
		return m.reject(p, "reject_"+why, p.dst, 1, 4, 0)
	}
	return m.reject(p, "reject_"+why, p.dst, 3, 3, 0)
}

func (m *Model) timeExceeded(p *parsed, from netip.Addr) Result {
	if p.ipv6() {
		return m.reject(p, "reject_ttl", from, 3, 0, 0)
	}
	return m.reject(p, "reject_ttl", from, 11, 0, 0)
}

func (m *Model) tooBig(p *parsed, mtu uint16) Result {
	if p.ipv6() {
		return m.reject(p, "reject_too_big", p.dst, 2, 0, uint32(mtu))
	}
	return m.reject(p, "reject_too_big", p.dst, 3, 4, uint32(mtu))
}

// reject answers the packet by an error that quotes it (RFC 1122, 3.2.2: none
// about what is not the first fragment, or from what is no host).
func (m *Model) reject(p *parsed, verdict string, from netip.Addr, icmpType, code uint8, rest uint32) Result {
	switch {
	case !isHost(p.src):
		return drop("drop_source")
	case p.part == later:
		return drop("drop_fragment")
	}
	quoted := p.frame[p.l3:min(p.end, p.l3+quoteMax)]
	answer := packet.Error(from, p.src, icmpType, code, rest, quoted)
	answer.TTL, answer.ID, answer.DontFragment = ownTTL, 0, true
	frame := slices.Concat(p.frame[6:12], p.frame[:6], p.frame[12:p.l3], answer.IP())
	return Result{Verdict: verdict, Action: TX, Frame: frame}
}
