package deploy

import (
	"strings"
	"testing"
)

const asn = "asn: 64513, "

// TestRefuse: what is wrong never reaches a cluster, and the message says what it is.
func TestRefuse(t *testing.T) {
	peers := func(peer string) string { return "config: {bgp: {" + asn + "peers: [" + peer + "]}}" }
	for _, c := range []struct {
		name, values string
		want         []string
	}{
		// By the schema.
		{"unknown value", "lbs: {}", []string{"lbs", "not allowed"}},
		{"unknown value below", "image: {name: x}", []string{"/image", "name", "not allowed"}},
		{"unknown key", "config: {datapath: {interface: [eth0]}}", []string{"/config/datapath", "interface", "not allowed"}},
		{"unknown key of a role", "lb: {config: {bpg: {}}}", []string{"/lb/config", "bpg", "not allowed"}},
		{"unknown key of a peer", peers("{address: 192.0.2.1, asn: 64512, password: x}"), []string{"/config/bgp/peers/0", "password", "not allowed"}},
		{"peer without ASN", peers("{address: 192.0.2.1}"), []string{"/config/bgp/peers/0", "missing property 'asn'"}},
		{"peer with ASN 0", peers("{address: 192.0.2.1, asn: 0}"), []string{"/config/bgp/peers/0/asn", "minimum", "1"}},
		{"peer nowhere", peers("{asn: 64512}"), []string{"/config/bgp/peers/0", "address", "gateway", "interface"}},
		{"pool without addresses", "config: {pools: [{name: a}]}", []string{"/config/pools/0", "missing property 'addresses'"}},
		{"pool without a name", "config: {pools: [{addresses: [198.51.100.0/28]}]}", []string{"/config/pools/0", "missing property 'name'"}},
		{"advertisement without a name", "config: {bgp: {advertisements: [{med: 1}]}}", []string{"missing property 'name'"}},
		{"word", "config: {forwarding: both}", []string{"/config/forwarding", "'auto', 'dsr', 'nat'"}},
		{"level", "config: {log: {level: loud}}", []string{"/config/log/level", "'debug'"}},
		{"number as text", "config: {nat: {maxFlows: many}}", []string{"/config/nat/maxFlows", "integer"}},
		{"number too large", "config: {tunnel: {port: 70000}}", []string{"/config/tunnel/port", "65,535"}},
		{"number out of range", "config: {chains: {extraRanks: 4}}", []string{"/config/chains/extraRanks", "maximum", "3"}},
		{"duration without a unit", "config: {drainTimeout: 10}", []string{"/config/drainTimeout"}},
		{"duration", "config: {drainTimeout: soon}", []string{"/config/drainTimeout", "pattern"}},
		{"address", peers("{address: tor1, asn: 64512}"), []string{"/config/bgp/peers/0/address", "pattern"}},
		{"section as text", "config: {bgp: none}", []string{"/config/bgp", "object"}},
		{"boolean", "config: {defaultClass: maybe}", []string{"/config/defaultClass", "boolean"}},
		{"pull policy", "image: {pullPolicy: Sometimes}", []string{"/image/pullPolicy", "Always"}},
		{"digest", "image: {digest: abc}", []string{"/image/digest", "pattern"}},
		{"label", "lb: {nodeLabel: lb}", []string{"/lb/nodeLabel", "pattern"}},
		{"long password", "bgpPasswords: {values: {a: " + strings.Repeat("x", 81) + "}}", []string{"/bgpPasswords/values/a", "maxLength"}},
		{"password of two lines", "bgpPasswords: {values: {a: \"b\\nc\"}}", []string{"/bgpPasswords/values/a", "pattern"}},

		// By templates.
		{"no ASN of our own", "config: {bgp: {peers: [{address: 192.0.2.1, asn: 64512}]}}", []string{"bgp.asn is not set"}},
		{"role", "config: {role: lb}", []string{"config.role can't be set", "lb.config", "backend.config"}},
		{"node", "lb: {config: {node: lb1}}", []string{"lb.config.node can't be set"}},
		{"LB nodes by another label", "config: {lbNodes: a=b}", []string{"config.lbNodes can't be set", "lb.nodeLabel"}},
		{"manifests", "config: {source: {kind: manifests}}", []string{"config.source.kind can't be set"}},
		{"seed in a ConfigMap", "config: {datapath: {seed: abc}}", []string{"config.datapath.seed can't be set", "seed.value"}},
		{"compile", "config: {datapath: {compile: true}}", []string{"config.datapath.compile can't be set", "no compiler"}},
		{"LB nodes' key on ingress nodes", "backend: {config: {bgp: {asn: 64513}}}", []string{"backend.config.bgp means nothing"}},
		{"ingress nodes' key on LB nodes", "lb: {config: {backend: {mtu: 1500}}}", []string{"lb.config.backend means nothing"}},
		{"tunnels without ingress nodes", "config: {forwarding: dsr}\nbackend: {enabled: false}", []string{"forwarding is dsr", "backend.enabled"}},
		{"two ends of tunnels", "backend: {config: {tunnel: {port: 7000}}}", []string{"tunnel.port", "differ"}},
		{"two seeds", "seed: {value: abc, existingSecret: b}", []string{"seed.value and seed.existingSecret"}},
		{"two passwords", "bgpPasswords: {values: {a: b}, existingSecret: c}", []string{"bgpPasswords.values and bgpPasswords.existingSecret"}},
		{"password of nowhere", peers("{address: 192.0.2.1, asn: 64512, passwordFile: /etc/penstock-passwords/tor1}"), []string{"passwordFile", "bgpPasswords.values has no tor1"}},
		{"password elsewhere", peers("{address: 192.0.2.1, asn: 64512, passwordFile: /etc/tor1}"), []string{"passwordFile is /etc/tor1", "/etc/penstock-passwords/KEY"}},
		{"two peers of a name", peers("{name: a, address: 192.0.2.1, asn: 64512}, {name: a, address: 192.0.2.2, asn: 64512}"), []string{"config.bgp.peers has two of the name a"}},
		{"two pools of a name", "config: {pools: [{name: a, addresses: [198.51.100.0/28]}, {name: a, addresses: [198.51.100.16/28]}]}", []string{"config.pools has two of the name a"}},
		{"unknown peer", "config: {bgp: {advertisements: [{name: a, peers: [tor9]}]}}", []string{"a names tor9 of peers"}},
		{"unknown pool", "config: {bgp: {advertisements: [{name: a, pools: \"x\"}]}}", []string{"a names x of pools"}},
		{"two monitors", "metrics: {podMonitor: {enabled: true}, serviceMonitor: {enabled: true}}", []string{"both enabled"}},
		{"monitor without a Service", "metrics: {service: {enabled: false}, serviceMonitor: {enabled: true}}", []string{"metrics.service"}},
		{"no probes", "config: {metrics: {address: \"\"}}", []string{"metrics.address", "probes"}},
		{"killed while it drains", "config: {drainTimeout: 2m}", []string{"lb.terminationGracePeriodSeconds is 120", "2m", "150 s"}},
		{"killed while it forwards", "backend: {terminationGracePeriodSeconds: 54}", []string{"backend.terminationGracePeriodSeconds is 54", "10s", "55 s"}},
		{"given up while it drains", "lb: {terminationGracePeriodSeconds: 200}", []string{"uninstall.timeout is 130s", "200 s", "lb.terminationGracePeriodSeconds"}},
		{"two agents on a node", "lb: {updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}}", []string{"lb.updateStrategy", "maxSurge", "two agents"}},
		{"no bpffs", "config: {datapath: {bpffs: /var/bpf}}", []string{"datapath.bpffs is /var/bpf", "/sys/fs/bpf"}},
		{"socket", "lb: {config: {api: {socket: /tmp/agent.sock}}}", []string{"api.socket is /tmp/agent.sock", "/run/penstock"}},
		{"history", "config: {source: {history: /run/penstock/../x}}", []string{"source.history", "/run/penstock"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			values := c.values
			if !strings.Contains(values, "seed: {value") {
				values = seeded + values
			}
			out, err := Template(t, namespace, values)
			if err == nil {
				t.Fatalf("it is taken")
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("the message has no %q:\n%s", want, out)
				}
			}
		})
	}
}

// TestSeedless: a renderer without a cluster would have another seed each time.
func TestSeedless(t *testing.T) {
	out, err := Template(t, namespace, "")
	if err == nil {
		t.Fatal("it rendered")
	}
	for _, want := range []string{"no cluster", "seed.existingSecret", "seed.value"} {
		if !strings.Contains(out, want) {
			t.Errorf("the message has no %q:\n%s", want, out)
		}
	}
}

// TestOldKubernetes: its API servers know no admission policies.
func TestOldKubernetes(t *testing.T) {
	if out, err := Template(t, namespace, seeded, "--kube-version", "1.29.9"); err == nil || !strings.Contains(out, ">=1.30") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := Template(t, namespace, seeded, "--kube-version", "1.30.0"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
