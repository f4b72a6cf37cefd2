package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/api"
)

// reason is a name that something has for not being in force, or for being as it is.
type reason struct {
	Name    string `json:"name"`
	Of      string `json:"of"` // what has it
	Meaning string `json:"meaning"`
	Do      string `json:"do,omitempty"` // empty: nothing need be done
}

func (c *cli) reasonsCmd() *cobra.Command {
	return c.withOutput(&cobra.Command{
		Use:   "reasons [REASON...]",
		Short: "Say what reasons mean, and what to do about them",
		Long: `Say what the reasons mean that other commands, Events, conditions and metrics give for
what is not in force. OF is what has the reason: a Service, its request for an address
(allocation), an address, a port, an endpoint, a VIP, or a backend, where it says how
packets get there. With names, and with -o wide, WHAT TO DO is shown as well; the detail
beside a reason names the objects that are meant.`,
		Example: `  penstock reasons
  penstock reasons PoolExhausted
  penstock reasons -o json | jq -r '.[] | select(.of == "allocation") | .name'`,
		ValidArgsFunction: completeReasons,
		RunE: func(_ *cobra.Command, args []string) error {
			shown, err := chosen(args)
			if err != nil {
				return err
			}
			return c.print(shown, func(w io.Writer) error {
				header := []string{"REASON", "OF", "MEANING", "WHAT TO DO"}
				if len(args) == 0 && c.output != wide {
					header = header[:3]
				}
				t := newTable(w, header...)
				for _, r := range shown {
					t.row(r.Name, r.Of, r.Meaning, r.Do)
				}
				return t.flush()
			})
		},
	})
}

// chosen returns the reasons of these names, in any case of letters, or all of them.
func chosen(names []string) ([]reason, error) {
	if len(names) == 0 {
		return reasons, nil
	}
	var out []reason
	for _, n := range names {
		at := slices.IndexFunc(reasons, func(r reason) bool { return strings.EqualFold(r.Name, n) })
		if at < 0 {
			if near := api.Near("/"+n, reasonNames()); len(near) > 0 {
				return nil, fmt.Errorf("there is no reason %s; did you mean %s?", n, strings.ReplaceAll(strings.Join(near, " or "), "/", ""))
			}
			return nil, fmt.Errorf("there is no reason %s; 'penstock reasons' lists them", n)
		}
		out = append(out, reasons[at])
	}
	return out, nil
}

func reasonNames() []string {
	out := make([]string, len(reasons))
	for i, r := range reasons {
		out[i] = "/" + r.Name
	}
	return out
}

func completeReasons(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, r := range reasons {
		if !slices.Contains(args, r.Name) {
			out = append(out, cobra.CompletionWithDesc(r.Name, r.Meaning))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func init() {
	slices.SortFunc(reasons, func(a, b reason) int { return cmp.Compare(a.Name, b.Name) })
}

// reasons has every one; a test compares it with the packages that define them.
var reasons = []reason{
	{"NotLoadBalancer", "Service", "it has our loadBalancerClass, but is not of type LoadBalancer", "set spec.type to LoadBalancer, or remove the class"},
	{"OtherClass", "Service", "its loadBalancerClass names another implementation, or it has none and defaultClass is not set", "give it the class penstock.dev/xdp if it is meant for this one; while its type is LoadBalancer the API server lets nobody change a class"},
	{"Deleted", "Service", "it is being deleted", ""},
	{"Headless", "Service", "its clusterIP is None", "a Service with external addresses needs a clusterIP; make a second one"},
	{"SourceRanges", "Service", "its source ranges cannot be read, so that nobody is served", "write CIDRs into spec.loadBalancerSourceRanges, or remove what is no CIDR"},
	{"NobodyAdmitted", "Service", "its source ranges have none of a family, so that no client of that family is served", "add a range of the family to spec.loadBalancerSourceRanges, such as ::/0, if clients of it are meant"},
	{"AddressPending", "Service", "it has yet to get an address from a pool", "wait; if it stays, see with 'penstock pools' whether an agent leads, and whether the API server answers"},
	{"NoAddress", "Service", "it has no external address", "see its condition penstock.dev/Allocated; with source manifests, write one into status.loadBalancer.ingress"},
	{"NoPorts", "Service", "it has no port", "give it one"},
	{"TooManyPorts", "Service", "the data path has no room for all of its ports, so that none is served", "raise datapath.maxRows or datapath.maxFrontends, or give it fewer ports"},
	{"UnsupportedAffinity", "Service", "its sessionAffinity is unknown, and None is used", "write None or ClientIP"},
	{"ClientAddressHidden", "Service", "it is in force, but some backends are reached by NAT and see the LB node's address, not what externalTrafficPolicy Local asks for", "run agents with role backend on those nodes, or set it to Cluster"},
	{"FailOpen", "backend", "its node does not answer, but counts as alive as more are dead than tunnel.failOpen allows", "see with 'penstock nodes' what keeps probes and answers from getting through"},
	{"SourceProblem", "source", "an object, a document or a kind of objects cannot be read, or a Node cannot be made sense of", "see the detail, which names it; what was read of it before stays in force"},
	{"NoTunnel", "Service", "it is to be forwarded through tunnels alone, and some endpoints have none", "run agents with role backend on their nodes, or set penstock.dev/forwarding to auto"},
	{"InvalidAnnotation", "Service", "an annotation penstock.dev/ of it, of a Pod or of an EndpointSlice does not count, by its name or its value", "correct what the detail names, or put it on the object that it is for"},

	{"Allocated", "allocation", "it has its addresses", ""},
	{"Shared", "allocation", "it has its addresses, one of them together with other Services", ""},
	{"PoolExhausted", "allocation", "no address is free in the pools that it may use", "widen a pool, add one, or delete Services; it gets what becomes free"},
	{"NoPool", "allocation", "no pool serves it: none allows its namespace and labels, or has its family", "add a pool, widen the selectors of one, or name one with autoAssign false by penstock.dev/pool"},
	{"AddressInUse", "allocation", "another Service has the requested address, and they do not share it", "ask for another, or give both the same penstock.dev/sharing-key and different ports"},
	{"PortInUse", "allocation", "another Service has one of its ports on the address that they share", "change one of the ports, or the sharing key"},
	{"AddressOutsidePool", "allocation", "no pool that it may use has the requested address", "ask for an address of a pool, or add the address to one"},
	{"PoolShrunk", "allocation", "it keeps an address that no pool has any more", "add the address to a pool, or delete and create the Service to have another"},
	{"FamilyMissing", "allocation", "it prefers both families, and there was an address of one", "add a pool of the other family; it then gets one"},
	{"InvalidRequest", "allocation", "what it asks for contradicts itself or cannot be read; it keeps what it has and gets nothing new", "correct the field or annotation that the message names"},

	{"InvalidAddress", "address", "it is no unicast IP address of global or private scope", "give another"},
	{"AddressIsNode", "address", "it is a node's own", "give one that no host has"},
	{"AddressClaimed", "address", "in force, although a Node says that it has the address: a pool gave it to the Service", "correct the Node's status.addresses, and see who wrote them; or take the address out of the pool"},
	{"AddressIsPeer", "address", "it is a BGP peer's, or a next hop", "give one that no host has"},
	{"AddressIsEndpoint", "address", "a Service has an endpoint there", "give one that no host or pod has"},
	{"OutsideVIPs", "address", "the configuration does not allow it as a VIP", "give one inside the networks of the key vips, or add its network"},
	{"OutsidePools", "address", "it is in the Service's status and stays in force, but no pool has it any more", "add the address to a pool, or delete and create the Service to have another"},
	{"ExternalIPRefused", "address", "spec.externalIPs has it, but no pool that admits the Service does, or another Service got it from a pool", "give an address of a pool that admits this Service, one with autoAssign false"},
	{"FrontendTaken", "address", "an older Service has the same address, port and protocol", "change the port or the address of one of them"},

	{"OtherAdvertisement", "address", "in force, but routers are told of it what the older Service says that shares it", "give both Services the same labels and the same annotations penstock.dev/bgp-…, or one another address"},

	{"UnsupportedProtocol", "port", "it is neither TCP nor UDP; the other ports are served", "serve it by other means"},
	{"InvalidPort", "port", "its number cannot be", "give it 1 to 65535"},

	{"UnsupportedSlice", "endpoint", "the EndpointSlice's addressType is neither IPv4 nor IPv6", "list addresses in place of names"},
	{"InvalidEndpoint", "endpoint", "it has an address or a port that no flow can be sent to", "correct whatever writes the EndpointSlice"},
	{"NoEndpoints", "endpoint", "no EndpointSlice lists one of the family", "see that the selector matches pods, and that they have addresses of the family"},
	{"PortNotFound", "endpoint", "no EndpointSlice with endpoints has the Service's port", "see that targetPort names a port of the pods"},
	{"NoUsableEndpoints", "endpoint", "none is ready, and none is terminating that still serves", "see why the pods are not ready"},
	{"NodesSilent", "endpoint", "some are ready, or terminating and still serve, but their nodes do not answer through their tunnels", "see `penstock nodes`: ingress nodes are dead, or do not get this node's packets"},
	{"HintsIgnored", "endpoint", "zone hints do not count here, so that endpoints of all zones take flows", "see the detail: LB nodes have to be in one zone, and every endpoint has to have a hint"},
	{"TerminatingOnly", "endpoint", "in force, on endpoints that are terminating", "see why no new pod becomes ready"},

	{"Announceable", "VIP", "it is, or is about to be, announced", ""},
	{"NoFrontends", "VIP", "none of the ports on it is in force", "see the reasons of its ports"},
	{"NodeExcluded", "VIP", "this node's label keeps it out of load balancing", "remove node.kubernetes.io/exclude-from-external-load-balancers if the node is to serve"},
	{"NodeDrained", "VIP", "this node is cordoned, or has a taint that drains it", "kubectl uncordon the node, or remove the taint that the detail names"},
	{"NotAdvertised", "VIP", "no entry of bgp.advertisements selects it for a router that its Service admits", "widen or add an entry, or correct the Service's labels or its annotation penstock.dev/bgp-peers, as the detail says"},
	{"NotInKernel", "VIP", "the tables could not be written", "see 'penstock status' for the error"},
	{"NoInterface", "VIP", "the program is attached to no interface, so that it sees no packet", "see 'penstock status', and datapath.interfaces"},
	{"Draining", "VIP", "this node drains: in the stage gracefulShutdown the VIP is announced as the last choice, in the stage withdrawn not at all", "penstock undrain, once the node is to serve again; see the detail for who drains it"},
	{"WarmingUp", "VIP", "it is announced as the last choice, for bgp.warmup after this node's start", ""},
	{"Damped", "VIP", "it was withdrawn so often lately that it is not announced again before the time in the detail", "see why it comes and goes, in the log; bgp.damping says how long, and whether at all"},
	{"ProbeFailed", "VIP", "the loaded program does not forward to it, as a packet of the agent's own showed; tried again every 5 s", "'penstock verdicts --all' says what the verdict in the detail means; drop_no_route: see the routes to the backends"},
	{"AnnounceFailed", "VIP", "the BGP speaker refused the route", "see the detail, and the log"},
	{"NotSynced", "VIP", "the tables were never written", "wait for the source, or see 'penstock status'"},
	{"NoPeers", "VIP", "this node has no router, as none is configured or all are for other nodes", "add bgp.peers, or see the detail for the selectors that do not match"},
	{"NoPeer", "VIP", "no router has it from this node any more, for its sessions are down", "see 'penstock bgp peers'"},
	{"NoSession", "VIP", "no router has it, for no session is up that carries its family and is told of it", "see 'penstock bgp peers'"},
	{"Refused", "VIP", "the tables did not take its services", "see 'penstock status'; mostly a limit such as datapath.maxBackends"},
	{"ForwardingOff", "VIP", "the kernel does not forward its family", "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"},
	{"RepliesNotSeen", "VIP", "the replies of all its backends come in by a device without the program", "add that device to datapath.interfaces"},

	{"Answering", "backend", "through a tunnel to its node, which answers", ""},
	{"NodeDead", "backend", "through a tunnel, but its node does not answer any more: flows stay, new ones go elsewhere", "see that node; 'penstock nodes' says since when"},
	{"NeverAnswered", "backend", "its node is an ingress node, but has not answered so far", "see that its agent runs, that tunnel.port is the same, and that no firewall drops that UDP port"},
	{"NotIngressNode", "backend", "no agent with role backend is on its node", "run one there if its pods are to see clients' addresses"},
	{"NodeUnknown", "backend", "nothing says which node it is on", "have the EndpointSlice name its node"},
	{"OtherTunnelPort", "backend", "its node has another tunnel.port than this one, so that there is no tunnel to it", "give all agents one tunnel.port"},
	{"OtherZone", "backend", "its zone hints are for other zones than the LB nodes': it keeps its flows and gets no new ones", "change spec.trafficDistribution if all zones are to serve"},
	{"OwnNode", "backend", "it is on this LB node, to which there is no tunnel", "keep ingress pods off LB nodes"},
	{"NoTunnelAddress", "backend", "its node has no address that this node could send to", "give both nodes an InternalIP of one family"},
	{"AskedFor", "backend", "translated, as the Service or the configuration wants it", ""},
}
