package config

import (
	"fmt"
	"slices"
	"strings"
)

// Keys that take a list of sections.
const (
	peersKey          = "bgp.peers"
	advertisementsKey = "bgp.advertisements"
	poolsKey          = "pools"
)

var lists = []list{
	listOf(peersKey, "peer", "address and asn", peerSettings),
	listOf(advertisementsKey, "advertisement", "name", advertisementSettings),
	listOf(poolsKey, "pool", "name and addresses", poolSettings),
}

// list is such a key, and what one of its entries may have.
type list struct {
	key   string
	item  string   // what one entry is called
	least string   // the keys that it must have
	names []string // the keys that it can have
	words []string // those of them that take lists of words
}

func listOf[C any](key, item, least string, settings []setting[C]) list {
	l := list{key: key, item: item, least: least}
	for _, s := range settings {
		l.names = append(l.names, s.Name)
		if kindOf(s.at(new(C))) == "list" {
			l.words = append(l.words, s.Name)
		}
	}
	return l
}

// entry gives the name of the ith entry's key, as in "bgp.peers[0].asn"; of the entry
// itself without one.
func (l list) entry(i int, name string) string {
	if name != "" {
		name = "." + name
	}
	return fmt.Sprintf("%s[%d]%s", l.key, i, name)
}

// entries gives all keys of the ith one.
func (l list) entries(i int) (out []string) {
	for _, name := range l.names {
		out = append(out, l.entry(i, name))
	}
	return out
}

// listAt finds the list of that key.
func listAt(key string) (list, bool) {
	i := slices.IndexFunc(lists, func(l list) bool { return l.key == key })
	if i < 0 {
		return list{}, false
	}
	return lists[i], true
}

// listAbove finds the list that key is in, or is.
func listAbove(key string) (list, bool) {
	at, _, _ := strings.Cut(key, "[")
	return listAt(at)
}

func listKeys() (out []string) {
	for _, l := range lists {
		out = append(out, l.key)
	}
	return out
}

func peerKey(i int, name string) string { return entryKey(peersKey, i, name) }
func poolKey(i int, name string) string { return entryKey(poolsKey, i, name) }

func entryKey(key string, i int, name string) string { return list{key: key}.entry(i, name) }
