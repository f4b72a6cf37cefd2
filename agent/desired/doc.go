// Package desired computes what a node should do from what Kubernetes objects
// say: the services of the data path, the paths of BGP and, for whatever is not
// in force, the reason why. It is pure: the same objects in any order give the
// same State on every node, and nothing outside the arguments is read.
//
// Ours are Services of type LoadBalancer whose loadBalancerClass is empty or
// [Class]. Their external addresses are the union of
// status.loadBalancer.ingress[].ip, spec.loadBalancerIP and spec.externalIPs.
// Services of other types are left to kube-proxy, their externalIPs too.
//
// Each Service port and address family gives one [maps.Service]. Its backends
// are the endpoints of all EndpointSlices of that family. The slice's port
// number is used where its port has the Service port's name and protocol;
// targetPort is not read, because the slice has already resolved it.
//
// No Service may have the address of this node, of a BGP peer, of a Node object
// or of an endpoint, nor one outside the VIPs of the [Site]. Of two Services
// that ask for one address, port and protocol the older one has it, then one
// with a creationTimestamp, then the first by name: every node decides alike,
// whichever it heard of first.
//
// An endpoint takes new flows while it is ready and not terminating. Where a
// service has no such endpoint, those that are terminating but still serve take
// them (KEP-1669). Every other endpoint that a slice still lists drains: its flows
// go on for as long as its pod answers. Its weight and since when it has done what
// it does come from its Pod object, if there is one; package history fills in what
// that does not tell.
//
// Packets reach an endpoint through a tunnel if its node is an ingress node, by
// [RoleAnnotation], that answers this one, and else by translation, if the Service
// allows that ([Forwarding]). An endpoint that had a tunnel does not go back to
// translation while its node stays an ingress node: if that falls silent, the
// endpoint drains.
//
// Fields that have no meaning here, because flows go to pods directly from a
// node that runs none: externalTrafficPolicy (where Local hides the client's address
// all the same, that is explained), healthCheckNodePort, trafficDistribution, allocateLoadBalancerNodePorts, topology hints and the
// time-out of session affinity. loadBalancerSourceRanges is not enforced by the
// data path, so a Service that restricts its sources is refused rather than
// opened to everybody.
package desired
