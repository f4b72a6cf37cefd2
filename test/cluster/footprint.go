package cluster

import (
	"fmt"
	"regexp"
	"strings"
)

// footprint is what programs can leave on a node, each line for itself, by what it is of.
type footprint map[string][]string

// marks are the commands that show it.
var marks = map[string]string{
	"programs":  "bpftool net show",
	"pins":      "find /sys/fs/bpf -mindepth 1 -not -name '*.debug'", // which the kernel puts there
	"files":     "find /run/penstock -mindepth 1 2>/dev/null || true",
	"qdiscs":    "tc qdisc show",
	"filters":   "tc filter show dev eth0 ingress; tc filter show dev eth0 egress",
	"links":     "ip -o link show",
	"addresses": "ip -o addr show",
	"routes":    "ip -4 route show table all; ip -6 route show table all",
	"rules":     "ip -4 rule; ip -6 rule; nft list ruleset >/dev/null && nft -s list ruleset | awk '" + notKubeProxy + "'",
	"sysctls":   "sysctl -a --pattern '^net[.](core|ipv4|ipv6)' 2>/dev/null",
}

// notKubeProxy leaves out its tables, and its chains in those of iptables: they follow Services.
const notKubeProxy = `/^table .* kube-proxy/ {table = 1} /chain KUBE-/ {chain = 1} !table && !chain; /^\t}/ {chain = 0} /^}/ {table = 0}`

// pods' devices, addresses and routes are the CNI's, and come and go, as does what leads to kube-proxy's
// chains.
var ofPods = regexp.MustCompile(`\bveth|cni0|\b10\.2\.|\bfd00:2:|nf_conntrack|\bmaster|^tc:$|^flow_dissector|^netfilter|\bKUBE-`)

// counting is what changes by itself.
var counting = regexp.MustCompile(` (valid_lft|preferred_lft|expires|age) \S+| qlen \d+|inode|nr_|tcp_mem|udp_mem`)

// footprint looks at a node.
func (n *Node) footprint() (footprint, error) {
	f := footprint{}
	for what, command := range marks {
		out, err := n.Exec("sh", "-c", command)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		for line := range strings.Lines(out) {
			line = strings.TrimSpace(counting.ReplaceAllString(line, ""))
			if line != "" && !ofPods.MatchString(line) {
				f[what] = append(f[what], line)
			}
		}
	}
	tcx, err := n.tcx()
	f["tcx"] = tcx
	return f, err
}

// minus gives the lines that only f has.
func (f footprint) minus(g footprint) (list []string) {
	for what, lines := range f {
		there := map[string]bool{}
		for _, l := range g[what] {
			there[l] = true
		}
		for _, l := range lines {
			if !there[l] {
				list = append(list, what+": "+l)
			}
		}
	}
	return list
}

func (s *Site) footprints() map[string]footprint {
	s.tb.Helper()
	all := map[string]footprint{}
	for _, n := range s.Nodes() {
		f, err := n.footprint()
		if err != nil {
			s.tb.Fatalf("footprint of %s: %v", n.Name, err)
		}
		all[n.Name] = f
	}
	return all
}
