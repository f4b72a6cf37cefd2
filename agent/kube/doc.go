// Package kube is where client-go ends: the source of Kubernetes objects, and what is
// written back to the API server.
//
// A [Source] follows EndpointSlices and Nodes, and in the role lb Services and
// Namespaces, with a reflector for each, which is what is inside an informer. It puts
// what they bring straight into an index by Service, for three reasons: there is one copy
// of each object, trimmed to what is read of it; a relist is one difference, made under
// one lock, of which nobody sees a half; and what has changed is known by Service, so
// that a [desired.Delta] costs what changed and not what there is.
//
// Pods are read one by one, and only those behind Services of type LoadBalancer: a watch
// of all pods would bring each change of each pod of the cluster to each node. A pod is
// read when a slice has a new endpoint of it, or other conditions of one. So what changes
// in a pod alone, as its annotations, is seen when its endpoint's conditions next do.
//
// What is known stays in force while the API server does not answer, for however long;
// [Client.Link] says since when.
package kube
