// Package kube is where client-go ends: the source of Kubernetes objects, and what is
// written back to the API server.
package kube
