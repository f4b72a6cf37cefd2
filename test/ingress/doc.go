// Package ingress tests the ingress node's data path: its programs packet by packet
// through BPF_PROG_TEST_RUN, and attached to devices of namespaces, with real clients
// and pods and an LB node in Go. Root and network namespaces needed.
package ingress
