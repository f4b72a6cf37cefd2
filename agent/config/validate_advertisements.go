package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/bgp"
)

func advertisementKey(i int, name string) string { return entryKey(advertisementsKey, i, name) }

// Bounds of aggregates: of whole address blocks nobody has only VIPs, and a prefix of an address's own
// length is the VIP's.
const (
	minAggregate4, maxAggregate4 = 8, 31
	minAggregate6, maxAggregate6 = 16, 127
)

// advertisementFaults checks each entry, and its name with those before it. A peer or pool that it names
// is one that is configured, whether it is this node's or not.
func (c *Config) advertisementFaults() (found faults) {
	var peers, pools []string
	for _, p := range c.BGP.Peers {
		peers = append(peers, p.Name)
	}
	for _, p := range c.Pools {
		pools = append(pools, p.Name)
	}
	for i := range c.BGP.Advertisements {
		e := &c.BGP.Advertisements[i]
		key := func(name string) string { return advertisementKey(i, name) }
		found = append(found, advertisementFaults(e, key)...)
		known(&found, key("peers"), e.Peers, peers, peersKey)
		known(&found, key("pools"), e.Pools, pools, poolsKey)
		for j := range c.BGP.Advertisements[:i] {
			if c.BGP.Advertisements[j].Name == e.Name && e.Name != "" {
				found.add(key("name"), e.Name, "%s has the same name; rename one of them", advertisementKey(j, ""))
			}
		}
	}
	return found
}

func advertisementFaults(e *advertise.Entry, key func(string) string) (found faults) {
	if len(e.Name) > 63 || !poolName.MatchString(e.Name) {
		found.add(key("name"), e.Name, "write at most 63 letters, digits, dots, dashes and underscores, a letter or digit at either end")
	}
	for i, n := range e.Namespaces {
		if !namespace(n) {
			found.add(key("namespaces"), n, namespaceForm)
		} else if slices.Contains(e.Namespaces[:i], n) {
			found.add(key("namespaces"), n, "it is listed twice; remove one")
		}
	}
	within(&found, key("prepend"), e.Prepend, 0, bgp.MaxPrepend)
	aggregate(&found, key("aggregateLength4"), e.AggregateLength4, minAggregate4, maxAggregate4)
	aggregate(&found, key("aggregateLength6"), e.AggregateLength6, minAggregate6, maxAggregate6)
	if e.AggregateOnly && e.AggregateLength4 == 0 && e.AggregateLength6 == 0 {
		found.add(key("aggregateOnly"), "true", "there is no aggregate to stand for the VIPs; set aggregateLength4 or aggregateLength6, or remove it")
	}
	if len(found) > 0 {
		return found
	}
	// What bgp refuses beyond that, so that the two cannot drift apart.
	if err := e.Attributes(0).Check(); err != nil {
		found.add(strings.TrimSuffix(key(""), "."), e.Name, "%w", err)
	}
	return found
}

func aggregate(found *faults, key string, length, least, most uint8) {
	if length != 0 && (length < least || length > most) {
		found.add(key, fmt.Sprint(length), "write a length from %d to %d, or 0 for no aggregate", least, most)
	}
}

// known refuses names that a list of the configuration does not have.
func known(found *faults, key string, names, all []string, list string) {
	for i, n := range names {
		switch {
		case slices.Contains(names[:i], n):
			found.add(key, n, "it is listed twice; remove one")
		case slices.Contains(all, n):
		case len(all) == 0:
			found.add(key, n, "%s is empty; add it there, or remove the name", list)
		default:
			found.add(key, n, "%s has no such name%s; write one of %s", list, suggest(n, all), strings.Join(all, ", "))
		}
	}
}

// unreached finds entries that come after one which decides of everything.
func (c *Config) unreached() (found faults) {
	all := slices.IndexFunc(c.BGP.Advertisements, func(e advertise.Entry) bool { return e.Unselective() })
	for i := range c.BGP.Advertisements {
		if all >= 0 && i > all {
			key, e := advertisementKey(i, ""), c.BGP.Advertisements
			found.add(key, "", "%s (%s) never counts, as %s before it selects every VIP for all peers; move it up", key, e[i].Name, e[all].Name)
		}
	}
	return found
}
