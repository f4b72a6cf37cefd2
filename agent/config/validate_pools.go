package config

import (
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/penstock-lb/penstock/agent/ipam"
)

func (s *Source) faults() (found faults) {
	check(&found, "source.kind", s.Kind, []SourceKind{SourceManifests, SourceKubernetes})
	if s.Kind == SourceManifests && s.Directory == "" {
		found.add("source.directory", "", "write the path of a directory")
	}
	if k := s.Kubeconfig; k != "" && s.Kind == SourceManifests {
		found.add("source.kubeconfig", k, "it is of no use with source.kind manifests; set source.kind: kubernetes, or remove it")
	} else if k != "" && !filepath.IsAbs(k) {
		found.add("source.kubeconfig", k, "write an absolute path, or nothing")
	}
	if !namespace(s.Namespace) {
		found.add("source.namespace", s.Namespace, namespaceForm)
	}
	for _, f := range []struct{ key, file string }{{"source.history", s.History}, {"source.copy", s.Copy}} {
		if f.file != "" && !filepath.IsAbs(f.file) {
			found.add(f.key, f.file, "write an absolute path, or nothing")
		}
	}
	return found
}

// dnsLabel is the form of a namespace's name (RFC 1123), which has at most 63 bytes.
var dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// poolName is what can stand in an annotation, a label and a metric alike.
var poolName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

const namespaceForm = "write the name of a namespace: at most 63 lower-case letters, digits and dashes, no dash at either end"

func namespace(name string) bool { return len(name) <= 63 && dnsLabel.MatchString(name) }

// poolFaults checks each pool, and each with those before it.
func (c *Config) poolFaults() (found faults) {
	for i := range c.Pools {
		p := &c.Pools[i]
		key := func(name string) string { return poolKey(i, name) }
		found = append(found, poolFaults(p, key)...)
		for _, r := range p.Ranges {
			if len(c.VIPs) > 0 && !covered(r, c.VIPs) {
				found.add(key("addresses"), r.String(), "pool %s has addresses that vips does not allow; add their network to vips, or take them out of the pool", p.Name)
			}
		}
		found = append(found, poolPeers(p, key("addresses"), c.BGP.Peers)...)
		for j := range c.Pools[:i] {
			found = append(found, poolTwins(&c.Pools[j], p, j, i)...)
		}
	}
	return found
}

func poolFaults(p *ipam.Pool, key func(string) string) (found faults) {
	if len(p.Name) > 63 || !poolName.MatchString(p.Name) {
		found.add(key("name"), p.Name, "write at most 63 letters, digits, dots, dashes and underscores, a letter or digit at either end")
	}
	if len(p.Ranges) == 0 {
		found.add(key("addresses"), "", "pool %s has none; write networks or ranges, as in [192.0.2.0/24, \"2001:db8::/64\"]", p.Name)
	}
	for _, r := range p.Ranges {
		overlaps := func(s special) bool { return r.Overlaps(ipam.RangeOf(s.network)) }
		if i := slices.IndexFunc(unfit, overlaps); i >= 0 {
			found.add(key("addresses"), r.String(), "pool %s has addresses of %s, %s, which no Service can have; take them out", p.Name, unfit[i].network, unfit[i].name)
		}
	}
	within(&found, key("priority"), int64(p.Priority), -1_000_000, 1_000_000)
	for i, n := range p.Namespaces {
		if !namespace(n) {
			found.add(key("namespaces"), n, namespaceForm)
		} else if slices.Contains(p.Namespaces[:i], n) {
			found.add(key("namespaces"), n, "it is listed twice; remove one")
		}
	}
	return found
}

type special struct {
	network netip.Prefix
	name    string
}

// unfit are networks whose addresses no router brings here (RFC 6890).
var unfit = []special{
	{netip.MustParsePrefix("0.0.0.0/8"), "“this network”"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
	{netip.MustParsePrefix("::/127"), "unspecified and loopback"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// poolTwins refuses two pools, the ith and the jth, of one name or with common addresses.
func poolTwins(a, b *ipam.Pool, i, j int) (found faults) {
	if a.Name == b.Name && a.Name != "" {
		found.add(poolKey(j, "name"), b.Name, "pools[%d] has the same name; rename one of them", i)
	}
	for _, r := range b.Ranges {
		if k := slices.IndexFunc(a.Ranges, r.Overlaps); k >= 0 {
			found.add(poolKey(j, "addresses"), r.String(), "pool %s has addresses in common with %s of pool %s (pools[%d]); take them out of one", b.Name, a.Ranges[k], a.Name, i)
		}
	}
	return found
}

// covered tells whether every address of r is in one of the networks, several of which may
// make it up.
func covered(r ipam.Range, networks []netip.Prefix) bool {
	for at := r.First; ; {
		i := slices.IndexFunc(networks, func(p netip.Prefix) bool { return p.Contains(at) })
		if i < 0 {
			return false
		}
		last := ipam.RangeOf(networks[i]).Last
		if !last.Less(r.Last) {
			return true
		}
		at = last.Next()
	}
}

// poolPeers finds addresses of BGP sessions in a pool: a Service that got one would be refused
// on this node, and take the session's traffic on others.
func poolPeers(p *ipam.Pool, key string, peers []Peer) (found faults) {
	for _, peer := range peers {
		for _, a := range []struct {
			what string
			addr netip.Addr
		}{{"address", peer.Address}, {"localAddress", peer.LocalAddress}, {"nextHop4", peer.NextHop4}, {"nextHop6", peer.NextHop6}} {
			if a.addr.IsValid() && p.Contains(a.addr) {
				found.add(key, a.addr.String(), "pool %s has the %s of BGP peer %s; take it out", p.Name, a.what, peer.Name)
			}
		}
	}
	return found
}
