package config

import (
	"slices"
	"strconv"
	"strings"
)

// twins refuses two peers, the ith and the jth, of one name, or that are one router to some
// node. Where labels decide who has them, only the node can tell.
func twins(a, b *Peer, i, j int) (found faults) {
	if key, value := sameRouter(a, b); key != "" && !apart(a, b) {
		found.add(peerKey(j, key), value, "bgp.peers[%d] has the same %s; remove one of them", i, key)
	} else if b.Name != "" && (a.Name == b.Name || numbered(a, b.Name) || numbered(b, a.Name)) {
		found.add(peerKey(j, "name"), b.Name, "bgp.peers[%d] has the same name%s; rename one of them", i, asNumbered(a, b))
	}
	return found
}

// sameRouter gives the key by which two peers are one router, with its value; empty for none.
func sameRouter(a, b *Peer) (key, value string) {
	switch {
	case a.Address.IsValid() && a.address() == b.address():
		return "address", b.Address.String()
	case a.Gateway != "" && a.Gateway == b.Gateway:
		return "gateway", b.Gateway
	case a.Unnumbered() && b.Unnumbered() && a.Interface == b.Interface:
		return "interface", b.Interface
	}
	return "", ""
}

// apart tells whether no node has both peers, as far as that can be told here.
func apart(a, b *Peer) bool {
	if !a.Selective() || !b.Selective() {
		return false
	}
	common := slices.ContainsFunc(a.Nodes, func(n string) bool { return slices.Contains(b.Nodes, n) })
	return a.NodeSelector != "" || b.NodeSelector != "" || !common
}

// numbered tells whether name is what one of several gateways of p is called.
func numbered(p *Peer, name string) bool {
	suffix, ok := strings.CutPrefix(name, p.Name+"-")
	n, err := strconv.ParseUint(suffix, 10, 16)
	return ok && err == nil && n > 0 && p.Gateway != ""
}

func asNumbered(a, b *Peer) string {
	if a.Name == b.Name {
		return ""
	}
	return " where a default route has several gateways"
}

// nodeName says what is wrong with the name of a Node; empty: nothing.
func nodeName(name string) string {
	if name == "" || len(name) > 253 || strings.ContainsAny(name, " \t\n/") {
		return "write the name of a Node object, at most 253 letters, digits, dots and dashes"
	}
	return ""
}

// checkDevice refuses what cannot be the name of a network device.
func checkDevice(found *faults, key, name string) {
	if name == "" || len(name) > 15 || strings.ContainsAny(name, "/ \t\n:%") || name == "." || name == ".." {
		found.add(key, name, "write the name of a network device, at most 15 bytes")
	}
}
