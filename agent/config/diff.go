package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/advertise"
	"github.com/penstock-lb/penstock/agent/ipam"
)

// Change is one key whose value differs between two configurations.
type Change struct {
	Key      string // of a peer or pool by its name, as in "bgp.peers[tor1].holdTime"
	Old, New string // secrets show as such
}

// Brief is the key, of an entry of a list with what became of it, as in "pools[a] removed".
func (c Change) Brief() string {
	switch {
	case !strings.HasSuffix(c.Key, "]"):
		return c.Key
	case c.New == "":
		return c.Key + " removed"
	}
	return c.Key + " added"
}

func (c Change) String() string { return fmt.Sprintf("%s: %q → %q", c.Key, c.Old, c.New) }

// Changes tells what a running agent can apply from what needs a restart.
type Changes struct {
	Live    []Change
	Restart []Change
}

// Empty reports whether nothing differs.
func (c Changes) Empty() bool { return len(c.Live)+len(c.Restart) == 0 }

func (c *Changes) add(live bool, key, old, new string) {
	to := &c.Restart
	if live {
		to = &c.Live
	}
	*to = append(*to, Change{key, old, new})
}

// Diff compares two configurations key by key, in the order of Keys. The
// content of the files that they name counts, not only the names.
func Diff(old, new *Config) Changes {
	var c Changes
	for _, s := range settings {
		compare(&c, s.Live, s.Name, s.at(old), s.at(new))
	}
	password := setting[Peer]{Key{Name: "password", Live: live}, func(p *Peer) value { return secretValue{&p.Password} }}
	compareLists(&c, peersKey, old.BGP.Peers, new.BGP.Peers, append(slices.Clone(peerSettings), password),
		func(p *Peer) (name, brief string) { return p.Name, p.brief() })
	compareLists(&c, advertisementsKey, old.BGP.Advertisements, new.BGP.Advertisements, advertisementSettings,
		func(e *advertise.Entry) (name, brief string) { return e.Name, "advertisement " + e.Name })
	compareOrder(&c, old.BGP.Advertisements, new.BGP.Advertisements)
	compareLists(&c, poolsKey, old.Pools, new.Pools, poolSettings,
		func(p *ipam.Pool) (name, brief string) { return p.Name, rangesValue{&p.Ranges}.String() })
	return c
}

// compareLists compares entries of one name; brief stands for one that came or went.
func compareLists[C any](c *Changes, key string, old, new []C, settings []setting[C], of func(*C) (name, brief string)) {
	named := func(list []C) map[string]*C {
		out := map[string]*C{}
		for i := range list {
			name, _ := of(&list[i])
			out[name] = &list[i]
		}
		return out
	}
	before, after := named(old), named(new)
	for i := range old {
		a := &old[i]
		name, brief := of(a)
		b, kept := after[name]
		if !kept {
			c.add(live, key+"["+name+"]", brief, "")
			continue
		}
		for _, s := range settings {
			compare(c, s.Live, key+"["+name+"]."+s.Name, s.at(a), s.at(b))
		}
	}
	for i := range new {
		if name, brief := of(&new[i]); before[name] == nil {
			c.add(live, key+"["+name+"]", "", brief)
		}
	}
}

func compare(c *Changes, live bool, key string, a, b value) {
	x, secret := a.(secretValue)
	if secret && *x.p != *b.(secretValue).p || a.String() != b.String() {
		c.add(live, key, a.String(), b.String())
	}
}
