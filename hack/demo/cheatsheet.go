package main

import (
	"path/filepath"
	"strings"
)

// cheatSheet tells what can be done with the network that was left up.
func (l *lab) cheatSheet() {
	lb := l.lbs[0]
	text := strings.NewReplacer(
		"NS", "nsenter --net=/run/netns/"+prefix, "VIP4", vip4, "VIP6", vip6, "DIR", lb.Dir, "PIN", filepath.Join(lb.BPFFS, "tables-*"),
		"PENSTOCK", lb.binary+" --config "+lb.config(), "FRR", l.router.Dir(),
	).Replace(sheet)
	l.say.title("The network is up. make demo-down removes it.")
	for line := range strings.Lines(text) {
		l.say.line("%s", strings.TrimRight(line, "\n"))
	}
}

const sheet = `
Hosts: client, tor, lb1, lb2, web1, web2, web3. A shell in one of them:
  NSclient bash

Ask the sites:
  NSclient curl -H 'Host: shop.example' http://VIP4/
  NSclient curl -H 'Host: blog.example' 'http://[VIP6]/'
  NSclient wrk -t1 -c32 -d10s -H 'Host: shop.example' http://VIP4/
  NSclient traceroute -n VIP4

The router:
  NStor ip route show exact VIP4
  NStor vtysh --vty_socket FRR --config_dir FRR -c 'show bgp summary'

A load balancer node:
  NSlb1 PENSTOCK status
  NSlb1 PENSTOCK backends
  NSlb1 PENSTOCK verdicts --watch
  NSlb1 bpftool map dump pinned PIN/frontends
  NSlb1 tcpdump -ni eth0        (XDP takes packets before tcpdump sees them: try it on tor)

Change what is wanted, and look at the backends again:
  $EDITOR DIR/manifests/slices.yaml
`
