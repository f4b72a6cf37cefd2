package main

import (
	"strings"

	"github.com/penstock-lb/penstock/test/lab"
)

// cheatSheet tells what can be done with the network that was left up.
func (l *site) cheatSheet(binary string) {
	lb := l.LBs[0]
	text := strings.NewReplacer(
		"NS", "nsenter --net=/run/netns/"+prefix, "VIP4", lab.VIP4.String(), "VIP6", lab.VIP6.String(), "RUN", runDir,
		"PIN", lb.Pins()+"/tables-*", "PENSTOCK", binary+" --config "+runDir, "FRR", l.FRR.Dir(),
	).Replace(sheet)
	l.say.title("The network is up. make demo-down removes it.")
	for line := range strings.Lines(text) {
		l.say.line("%s", strings.TrimRight(line, "\n"))
	}
}

const sheet = `
Hosts: client, router, lb1 to lb3, ingress1 to ingress3, node1, pod1 to pod6. A shell in one of them:
  NSclient bash

Ask pods on ingress nodes, and a node without an agent:
  NSclient curl http://VIP4/
  NSclient curl 'http://[VIP6]/'
  NSclient curl http://VIP4:81/
  NSclient wrk -t1 -c32 -d10s http://VIP4/
  NSclient traceroute -n VIP4

The router:
  NSrouter ip route show exact VIP4
  NSrouter vtysh --vty_socket FRR --config_dir FRR -c 'show bgp summary'

An LB node:
  NSlb1 PENSTOCK/lb1/penstock.yaml status
  NSlb1 PENSTOCK/lb1/penstock.yaml backends
  NSlb1 PENSTOCK/lb1/penstock.yaml nodes
  NSlb1 PENSTOCK/lb1/penstock.yaml verdicts --watch
  NSlb1 bpftool map dump pinned PIN/frontends
  NSlb1 tcpdump -ni eth0        (XDP takes packets before tcpdump sees them: try it on router)

An ingress node, and what comes to it in tunnels:
  NSingress1 PENSTOCK/ingress1/penstock.yaml status
  NSrouter tcpdump -vni ingress1 udp dst port 6082 and greater 100     (shorter ones are probes)

Start the third LB node:
  NSlb3 PENSTOCK/lb3/penstock.yaml agent

Change what is wanted, the same for each host, and look at the backends again:
  $EDITOR RUN/lb1/manifests/cluster.yaml
`
