package bgp_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/penstock-lb/penstock/test/fixture"
)

type birdRouter struct {
	*fixture.BIRD
	side side
}

// bird is the configuration in BIRD's language.
func (s side) bird() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "router id %s;\nprotocol device { scan time 1; }\n%s", s.id, s.lines)
	for _, family := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(b, "protocol kernel kernel%s { %s { export where source = RTS_BGP; }; merge paths yes; }\n", family[3:], family)
		fmt.Fprintf(b, "protocol static static%s {\n\t%s;\n", family[3:], family)
		for _, network := range s.networks {
			if familyName(network) == family {
				fmt.Fprintf(b, "\troute %s blackhole;\n", network)
			}
		}
		fmt.Fprint(b, "}\n")
	}
	fmt.Fprint(b, "protocol bfd { interface \"*\" { interval 100 ms; multiplier 3; }; multihop { interval 100 ms; multiplier 3; }; }\n")
	for _, n := range s.neighbors {
		n.bird(b, s.asn)
	}
	return b.String()
}

func (n neighbor) bird(b *strings.Builder, asn int) {
	line := func(format string, args ...any) { fmt.Fprintf(b, "\t"+format+";\n", args...) }
	fmt.Fprintf(b, "protocol bgp %s {\n", n.name)
	if n.localAS != 0 {
		asn = n.localAS
	}
	if n.local != "" {
		line("local %s as %d", n.local, asn)
	} else {
		line("local as %d", asn)
	}
	if n.dynamic() {
		line("neighbor range %s as %d", n.addr, n.asn)
		line("dynamic name %q", n.name+"_")
	} else if n.device != "" {
		line("neighbor %s%%'%s' as %d", n.addr, n.device, n.asn)
	} else {
		line("neighbor %s as %d", n.addr, n.asn)
	}
	keepalive, hold := n.timers()
	line("keepalive time %d", keepalive)
	line("hold time %d", hold)
	line("connect retry time 1")
	line("error wait time 1, 3")
	line("graceful restart aware")
	line("long lived graceful restart aware")
	switch {
	case n.multihop != 0:
		line("multihop %d", n.multihop)
	case n.asn == asn:
		line("direct")
	}
	if n.password != "" {
		line("password %q", n.password)
	}
	if n.ttlSecurity {
		line("ttl security on")
	}
	if n.passive {
		line("passive yes")
	}
	if n.bfd {
		line("bfd graceful")
	}
	for _, family := range n.channels() {
		length := map[string]int{"ipv4": 32, "ipv6": 128}[family]
		filter := fmt.Sprintf("filter { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; if net.len = %d then accept; reject; }", length)
		if n.everything {
			filter = "all"
		}
		extended := ""
		if n.extended && family == "ipv4" {
			extended = " extended next hop on;"
		}
		line("%s { import keep filtered on; import %s; export where source = RTS_STATIC;%s }", family, filter, extended)
	}
	fmt.Fprint(b, "}\n")
}

var birdVia = regexp.MustCompile(`(?m)^\s+BGP\.(\w+): (.*)$`)

func (r *birdRouter) told(prefix string) ([]told, error) {
	out, err := r.Birdc("show route", prefix, "all", "table", "master"+familyName(prefix)[3:])
	if strings.Contains(out, "Network not found") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []told
	for _, part := range regexp.MustCompile(`(?m)^\S*\s+(unicast|unreachable) \[`).Split(out, -1)[1:] {
		path := told{stale: regexp.MustCompile(`^[^\n]*\(\d+s\)`).MatchString(part)}
		for _, m := range birdVia.FindAllStringSubmatch(part, -1) {
			value := strings.TrimSpace(m[2])
			switch m[1] {
			case "next_hop":
				path.hop, _, _ = strings.Cut(value, " ")
			case "as_path":
				path.asPath = value
			case "med":
				path.med = value
			case "local_pref":
				path.localPref = value
			case "community":
				path.communities = numeric(birdCommunities(value))
			case "large_community":
				path.large = strings.Join(birdCommunities(value), " ")
			case "ext_community":
				path.extended = value
			}
		}
		if path.asPath != "" {
			path.localPref = ""
		}
		list = append(list, path)
	}
	slices.SortFunc(list, func(a, b told) int { return strings.Compare(a.hop, b.hop) })
	return list, nil
}

// birdCommunities reads (1,2) (3,4) and (1, 2, 3).
func birdCommunities(text string) (list []string) {
	for _, m := range regexp.MustCompile(`\(([^)]*)\)`).FindAllStringSubmatch(text, -1) {
		list = append(list, strings.ReplaceAll(strings.ReplaceAll(m[1], " ", ""), ",", ":"))
	}
	return list
}

// protocol is what BIRD says of the session with a neighbor, which for a range is of its first one.
func (r *birdRouter) protocol(addr string) (string, error) {
	name := ""
	for _, n := range r.side.neighbors {
		if n.addr == addr {
			name = n.name
		}
	}
	if name == "" {
		name = r.side.neighbors[0].name + "_1"
	}
	return r.Birdc("show", "protocols", "all", name)
}

func (r *birdRouter) established(addr string) (bool, error) {
	out, err := r.protocol(addr)
	return regexp.MustCompile(`(?m)BGP state:\s+Established`).MatchString(out), err
}

func (r *birdRouter) last(addr string) (string, error) {
	out, err := r.protocol(addr)
	if err != nil {
		return "", err
	}
	var found []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "Last error:") || strings.Contains(line, "Message:") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(append(found, r.summary(out)), "; "), nil
}

// summary is the info column of a protocol.
func (r *birdRouter) summary(out string) string {
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 5 && fields[1] == "BGP" {
			return strings.Join(fields[5:], " ")
		}
	}
	return ""
}

func (r *birdRouter) received(addr, family string) (int, error) {
	out, err := r.protocol(addr)
	if err != nil {
		return 0, err
	}
	n := 0
	_, channel, ok := strings.Cut(out, "Channel "+family)
	if m := regexp.MustCompile(`Routes:\s+(\d+) imported, (\d+) filtered`).FindStringSubmatch(channel); ok && m != nil {
		for _, s := range m[1:] {
			v, _ := strconv.Atoi(s)
			n += v
		}
	}
	return n, nil
}

func (r *birdRouter) bfd(addr string) (bool, error) {
	out, err := r.Birdc("show", "bfd", "sessions")
	if err == nil && lines(out, addr+" ", " Up ") == 0 {
		err = errors.New(out)
	}
	return err == nil, err
}

func (r *birdRouter) configure(t *testing.T, s side) {
	t.Helper()
	r.side = s
	r.Configure(t, s.bird())
}

func (r *birdRouter) shutdown(t *testing.T, addr, why string) {
	t.Helper()
	for _, n := range r.side.neighbors {
		if n.addr == addr {
			if out, err := r.Birdc("disable", n.name, strconv.Quote(why)); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
	}
}

func (r *birdRouter) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	r.Signal(t, sig)
}

func (r *birdRouter) stop(t *testing.T) {
	t.Helper()
	r.Stop(t)
}

func (r *birdRouter) restart(t *testing.T) {
	t.Helper()
	r.Restart(t)
}
