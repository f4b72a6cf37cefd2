package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
)

// Lifecycle is what the API says about a pod's life. It has whole seconds.
type Lifecycle struct {
	StartedAt  time.Time // of its container
	Ready      bool
	ReadySince time.Time // or not ready since
	DeletedAt  time.Time // when deletion was asked for; zero: not
	Grace      time.Duration
	Weight     int // 0: not given
}

// Begin says that the pod's container runs, and is not ready yet.
func (l *Lifecycle) Begin(now time.Time) { l.StartedAt, l.ReadySince = now, now }

// SetReady notes a transition.
func (l *Lifecycle) SetReady(ready bool, now time.Time) {
	if l.Ready != ready {
		l.Ready, l.ReadySince = ready, now
	}
}

// Delete begins the pod's termination.
func (l *Lifecycle) Delete(now time.Time, grace time.Duration) { l.DeletedAt, l.Grace = now, grace }

// Terminating tells whether deletion was asked for.
func (l *Lifecycle) Terminating() bool { return !l.DeletedAt.IsZero() }

// Cluster is what an API server would have of a site whose pods are its endpoints.
type Cluster struct {
	Name   string // of the Service
	VIPs   []netip.Addr
	Ports  []ServicePort
	Pods   []*Pod
	Gone   bool              // the Service is deleted
	Annots map[string]string // of the Service
}

// ServicePort is a port of a VIP and of the pods.
type ServicePort struct {
	Port, Target uint16
	Protocol     string // TCP or UDP
}

func (p ServicePort) name() string { return fmt.Sprintf("%s-%d", strings.ToLower(p.Protocol), p.Port) }

// ApplyCluster gives every agent of both roles the whole cluster, in one file.
func (l *Lab) ApplyCluster(tb fixture.TB, c *Cluster) {
	tb.Helper()
	text := c.YAML(l)
	for _, h := range l.Hosts() {
		h.Write(tb, "cluster.yaml", text)
	}
}

// YAML is the Service, its EndpointSlices, the Pods and the lab's Nodes as Kubernetes would have them.
func (c *Cluster) YAML(l *Lab) string {
	var b strings.Builder
	c.service(&b)
	for _, family := range []string{"IPv4", "IPv6"} {
		c.slice(&b, family)
	}
	for _, p := range c.Pods {
		p.yaml(&b)
	}
	for _, n := range l.LBs {
		nodeYAML(&b, n.Name, "lb", "", n.Addr4, n.Addr6)
	}
	for _, n := range l.Ingress {
		tunnel := ""
		if l.opts.Underlay6 {
			tunnel = n.Addr6.String()
		}
		nodeYAML(&b, n.Name, "backend", tunnel, n.Addr4, n.Addr6)
	}
	return b.String()
}

func (c *Cluster) service(b *strings.Builder) {
	fmt.Fprintf(b, "apiVersion: v1\nkind: Service\nmetadata:\n  name: %s\n  namespace: default\n  annotations:\n    lab: \"1\"\n", c.Name)
	for k, v := range c.Annots {
		fmt.Fprintf(b, "    %s: %q\n", k, v)
	}
	b.WriteString("spec:\n  type: LoadBalancer\n  loadBalancerClass: penstock.dev/xdp\n  ipFamilyPolicy: RequireDualStack\n  ports:\n")
	for _, p := range c.Ports {
		fmt.Fprintf(b, "  - {name: %s, port: %d, protocol: %s, targetPort: %d}\n", p.name(), p.Port, p.Protocol, p.Target)
	}
	b.WriteString("status:\n  loadBalancer:\n    ingress:\n")
	for _, vip := range c.VIPs {
		fmt.Fprintf(b, "    - ip: \"%s\"\n", vip)
	}
}

func (c *Cluster) slice(b *strings.Builder, family string) {
	fmt.Fprintf(b, `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: %[1]s-%[2]s
  namespace: default
  labels: {kubernetes.io/service-name: %[1]s}
addressType: %[3]s
ports:
`, c.Name, strings.ToLower(family), family)
	for _, p := range c.Ports {
		fmt.Fprintf(b, "- {name: %s, port: %d, protocol: %s}\n", p.name(), p.Target, p.Protocol)
	}
	b.WriteString("endpoints:\n")
	for _, p := range c.Pods {
		addr := p.Addr4
		if family == "IPv6" {
			addr = p.Addr6
		}
		fmt.Fprintf(b, "- addresses: [\"%s\"]\n  conditions: {ready: %t, serving: %t, terminating: %t}\n"+
			"  nodeName: %s\n  targetRef: {kind: Pod, namespace: default, name: %s}\n",
			addr, p.Ready && !p.Terminating(), p.Ready, p.Terminating(), p.Node.Name, p.Name)
	}
}

func (p *Pod) yaml(b *strings.Builder) {
	started, changed := stamp(p.StartedAt), stamp(p.ReadySince)
	fmt.Fprintf(b, "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\n  namespace: default\n  creationTimestamp: %s\n", p.Name, started)
	if p.Terminating() {
		// The API's timestamp is when the grace ends.
		fmt.Fprintf(b, "  deletionTimestamp: %s\n  deletionGracePeriodSeconds: %d\n", stamp(p.DeletedAt.Add(p.Grace)), int(p.Grace.Seconds()))
	}
	if p.Weight > 0 {
		fmt.Fprintf(b, "  annotations: {penstock.dev/weight: \"%d\"}\n", p.Weight)
	}
	status := map[bool]string{true: "True", false: "False"}[p.Ready]
	fmt.Fprintf(b, `spec:
  nodeName: %s
  containers: [{name: main, image: none}]
status:
  phase: Running
  startTime: %s
  podIP: %s
  podIPs: [{ip: %s}, {ip: "%s"}]
  conditions: [{type: Ready, status: "%s", lastTransitionTime: %s}]
  containerStatuses:
  - {name: main, image: none, imageID: none, ready: %t, restartCount: 0, state: {running: {startedAt: %s}}}
`, p.Node.Name, started, p.Addr4, p.Addr4, p.Addr6, status, changed, p.Ready, started)
}

func nodeYAML(b *strings.Builder, name, role, tunnel string, addrs ...netip.Addr) {
	fmt.Fprintf(b, "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: %s\n  annotations:\n    penstock.dev/role: %s\n", name, role)
	if tunnel != "" {
		fmt.Fprintf(b, "    penstock.dev/tunnel-address: \"%s\"\n", tunnel)
	}
	b.WriteString("status:\n  addresses:\n")
	for _, a := range addrs {
		fmt.Fprintf(b, "  - {type: InternalIP, address: \"%s\"}\n", a)
	}
}

// stamp is a time as Kubernetes writes it, quoted, as YAML has times of its own.
func stamp(t time.Time) string { return `"` + t.UTC().Format(time.RFC3339) + `"` }
