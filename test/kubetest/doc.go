// Package kubetest gives a test a real Kubernetes API server, with RBAC and the real
// controllers, and kubectl. The server is a program of its own, built from test/kube/server
// by hack/kubetest.sh into bin/: Kubernetes' dependencies stay out of this module, and a
// server that a test kills takes nothing else along.
//
// There is no kubelet and no scheduler: a test writes the status of Pods and Nodes.
package kubetest
