// Package kube tests Penstock against a real Kubernetes API server: what the agents' accounts
// may do, and whole sites in network namespaces whose agents have no other source. Pods are
// processes in namespaces whose status the tests write, as there is no kubelet.
package kube
