package config

import "fmt"

// Change is one key whose value differs between two configurations.
type Change struct {
	Key      string // of a peer by its name, as in "bgp.peers[tor1].holdTime"
	Old, New string // secrets show as such
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
	before, after := byName(old.BGP.Peers), byName(new.BGP.Peers)
	for i := range old.BGP.Peers {
		a := &old.BGP.Peers[i]
		b, kept := after[a.Name]
		if !kept {
			c.add(live, peersKey+"["+a.Name+"]", a.brief(), "")
			continue
		}
		for _, s := range peerSettings {
			compare(&c, s.Live, peersKey+"["+a.Name+"]."+s.Name, s.at(a), s.at(b))
		}
		compare(&c, live, peersKey+"["+a.Name+"].password", secretValue{&a.Password}, secretValue{&b.Password})
	}
	for i := range new.BGP.Peers {
		if b := &new.BGP.Peers[i]; before[b.Name] == nil {
			c.add(live, peersKey+"["+b.Name+"]", "", b.brief())
		}
	}
	return c
}

func compare(c *Changes, live bool, key string, a, b value) {
	x, secret := a.(secretValue)
	if secret && *x.p != *b.(secretValue).p || a.String() != b.String() {
		c.add(live, key, a.String(), b.String())
	}
}

func byName(peers []Peer) map[string]*Peer {
	out := map[string]*Peer{}
	for i := range peers {
		out[peers[i].Name] = &peers[i]
	}
	return out
}

func (p *Peer) brief() string { return fmt.Sprintf("%s AS %d", p.Address, p.ASN) }
