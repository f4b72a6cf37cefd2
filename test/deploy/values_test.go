package deploy

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const namespace = "penstock-system"

// seeded are values that render without a cluster.
const seeded = "seed: {existingSecret: penstock-seed}\n"

// sites are values that work.
var sites = map[string]string{
	"least": seeded,
	"own seed": `
seed: {value: 00112233445566778899aabbccddeeff}
`,
	"routers and pools": seeded + `
config:
  vips: [198.51.100.0/24, "2001:db8:100::/64"]
  pools:
  - {name: public, addresses: [198.51.100.16/28, "2001:db8:100::/120"], avoidBuggyIPs: true}
  - {name: partners, addresses: 198.51.100.64-198.51.100.70, autoAssign: false, namespaces: [shop]}
  bgp:
    asn: 4200000001
    peers:
    - {name: tor1, address: 192.0.2.1, asn: 4200000000, passwordFile: /etc/penstock-passwords/tor1, ttlSecurity: true}
    - {name: tor2, address: "2001:db8::1", asn: 64512, bfd: true, bfdInterval: 100ms}
    - {name: gw, gateway: ipv4, asn: 64512, holdTime: 30s, keepaliveTime: 10s}
    advertisements:
    - {name: edge, peers: [tor1, tor2], pools: [public], communities: [64512:100], med: 100, linkBandwidth: 10G}
    - {name: rest, localPref: 200, linkBandwidth: auto}
    gracefulRestart: {longLivedTime: 1h}
  drainTimeout: 1m15s
bgpPasswords: {values: {tor1: secret}}
`,
	"more capabilities": seeded + `
config:
  bgp:
    asn: 64513
    peers:
    - {name: leaf, interface: eth1, asn: 64512}
    - {name: rs, address: 192.0.2.7, asn: 64530, passive: true, maxPrefixes: 1000}
`,
	"no ingress nodes": seeded + `
backend: {enabled: false}
`,
	"roles apart": seeded + `
config: {datapath: {interfaces: [eth0]}, log: {format: json}, tunnel: {port: 7000}, bgp: {warmup: 0}}
lb:
  config: {datapath: {interfaces: [eth0, eth1], rows: 65536}, metrics: {address: "127.0.0.2:9480"}, drainTimeout: 0s}
  nodeLabel: example.com/edge=yes
  terminationGracePeriodSeconds: 30
  tolerations: []
  resources: {}
  podLabels: {a: b}
  podAnnotations: {c: d}
backend:
  config: {datapath: {interfaces: [bond0]}, backend: {mtu: 1500, timeouts: {udp: 30s}}, log: {level: debug}, metrics: {address: "[::]:9481"}}
  nodeSelector: {example.com/tier: ingress}
`,
	"all options": seeded + `
image: {repository: registry.example.com/penstock, digest: "sha256:` + strings.Repeat("0a", 32) + `", pullPolicy: Always}
imagePullSecrets: [{name: registry}]
bgpPasswords: {existingSecret: bgp}
config: {bgp: {asn: 64513, peers: [{address: 192.0.2.1, asn: 64512, passwordFile: /etc/penstock-passwords/any}]}}
priorityClassName: ""
admission: {enabled: false}
uninstall: {hook: false}
namespace: {create: true}
metrics: {podMonitor: {enabled: true, labels: {release: prometheus}, interval: 15s}, prometheusRule: {enabled: true, labels: {release: prometheus}}}
`,
	"service monitor": seeded + `
metrics: {service: {annotations: {a: b}}, serviceMonitor: {enabled: true}}
`,
}

func render(t *testing.T, values string, args ...string) objects {
	t.Helper()
	out, err := Template(t, namespace, values, args...)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return parse(t, out)
}

// objects are by kind and name.
type objects map[string]map[string]any

// parse takes YAML documents apart.
func parse(t *testing.T, text string) objects {
	t.Helper()
	out := objects{}
	for doc := range strings.SplitSeq("\n"+text, "\n---") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if o == nil {
			continue
		}
		key := fmt.Sprintf("%v/%v", o["kind"], at(o, "metadata", "name"))
		if out[key] != nil {
			t.Fatalf("%s is there twice", key)
		}
		out[key] = o
	}
	return out
}

// at goes down by names of maps and indices of lists; nil where there is nothing.
func at(o any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := o.(map[string]any)
			o = m[p]
		case int:
			l, _ := o.([]any)
			if p >= len(l) {
				return nil
			}
			o = l[p]
		}
	}
	return o
}

// template is the pod template of a role.
func (o objects) template(role string) any {
	return at(o["DaemonSet/penstock-"+role], "spec", "template")
}

// container is the agent's.
func (o objects) container(role string) any {
	return at(o.template(role), "spec", "containers", 0)
}

// file is a role's penstock.yaml.
func (o objects) file(role string) string {
	text, _ := at(o["ConfigMap/penstock-"+role], "data", "penstock.yaml").(string)
	return text
}
