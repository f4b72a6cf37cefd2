// Package desired computes what a node should do from what Kubernetes objects
// say: the services of the data path, the paths of BGP and, for whatever is not
// in force, the reason why. It is pure: the same objects in any order give the
// same State on every node, and nothing outside the arguments is read. [From] works
// it out from scratch, a [Model] from changes.
//
// # Which Services
//
// Ours are Services of type LoadBalancer whose loadBalancerClass is [Class] (KEP-1959),
// and those without a class if the [Site] says so. Services of other types are left to
// kube-proxy, their externalIPs too. A Service that changes its type or class is taken out
// of the data path at once; the API server empties its status itself where the type goes.
//
// # Addresses
//
// Where package ipam allocates ([Site].Allocated), a Service's addresses are those in
// status.loadBalancer.ingress, of either ipMode (KEP-1860): that tells kube-proxy whether it may serve
// clients within the cluster itself, and is not for us. spec.loadBalancerIP
// and [IPsAnnotation] are requests, which [Claim] turns into what package ipam is asked for. An
// address in status stays in force when its pool goes. externalIPs count only where a pool
// that admits the Service has them, and no other Service got them from it: whoever may write
// a Service could take any host's traffic else (CVE-2020-8554).
// Where nobody allocates, as with manifests, all of these count directly.
//
// No Service may have the address of this node, of a BGP peer, of a Node object
// or of an endpoint, nor one outside the VIPs of the Site. Of two Services
// that ask for one address, port and protocol the older one has it, then one
// with a creationTimestamp, then the first by name: every node decides alike,
// whichever it heard of first.
//
// # Routers
//
// Which routers are told of a VIP, and with which attributes, is what package advertise makes of
// the configuration and of the Service's annotations (penstock.dev/bgp-…). Of Services that share a
// VIP the one with the best right to it says that, and the others are told where they say
// something else. An annotation that cannot be read leaves the configuration's word in force;
// only [BGPPeersAnnotation] does not widen by a mistake: names that nobody has do not count, and if
// that leaves none, nobody is told.
//
// # Tables and endpoints
//
// Each Service port and address family gives one [maps.Service]. Its backends
// are the endpoints of all EndpointSlices of that family. The slice's port
// number is used where its port has the Service port's name and protocol;
// targetPort is not read, because the slice has already resolved it. A port that is
// neither TCP nor UDP is refused and the others go on. A Service with more ports than the data
// path could hold is refused whole.
//
// An endpoint takes new flows while it is ready, which by default it is if it serves and is
// not terminating (KEP-1672). Where a service has no such endpoint, those that are
// terminating but still serve take them (KEP-1669). Every other endpoint that a slice still
// lists drains: its flows go on for as long as its pod answers. Its weight and since when it
// has done what it does come from its Pod object, if there is one; package history fills in
// what that does not tell.
//
// Zone hints (KEP-2433, and what trafficDistribution makes of it, KEP-4444) count where all LB nodes
// are in one zone. A flow moves between LB nodes by ECMP, and each of them must choose among
// the same endpoints. Else the conditions are kube-proxy's: every ready endpoint has a hint,
// and one that can be reached is meant for the zone. Endpoints meant for others drain. An LB
// node that starts within the retention of chains after hints changed does not know that.
//
// # Clients
//
// loadBalancerSourceRanges, or where it is empty the annotation that was before it, limit a
// table to the ranges of its family. A list without any of a family admits nobody of it;
// kube-proxy admits everybody there, and does not read the annotation at all. A range that
// cannot be read refuses the Service, and its frontends stay its own.
//
// sessionAffinity ClientIP places a client's flows by its address alone. No state is kept,
// so that nothing expires and timeoutSeconds has no meaning. What a client sees: its new flows
// to a port go to one endpoint, by any LB node, for as long as the endpoints and their
// weights stay as they are. When one comes, the clients that it wins, one in n, go to it with
// new flows, and when one goes or drains its clients are spread over the others; all others
// stay where they are, as do flows that are open. kube-proxy would keep a client on its endpoint
// when another comes.
//
// # Nodes
//
// Packets reach an endpoint through a tunnel if its node is an ingress node that answers this
// one, and else by translation, if the Service allows that ([Forwarding]). A node is what
// [RoleAnnotation] says or its agents publish ([Published]). An endpoint that had a tunnel
// does not go back to translation while its node stays an ingress node: if that falls silent,
// the endpoint drains. An endpoint is on the node of its pod, whatever its slice says.
//
// An LB node that is cordoned or has the taint [DrainTaint] announces nothing, as long as
// another one could take over.
//
// # What has no meaning here
//
// LB nodes run no endpoints and hand packets to pods directly. So externalTrafficPolicy
// Local and Cluster are the same: all endpoints are used, and the client's address
// is kept wherever a tunnel leads; where it is not, Local is told so. healthCheckNodePort
// is for balancers that choose among nodes by it: kube-proxy answers there with the number of
// a node's own endpoints, which says nothing of an LB node, and endpoints are known from slices.
// allocateLoadBalancerNodePorts (KEP-1864): no node port is used, so that false saves them.
// internalTrafficPolicy (KEP-2086) is of clients within the cluster. Hints for nodes are of
// clients on them.
package desired
