// Package cluster is a real cluster on one machine: nodes with containerd and kubelet, the control
// plane, a router that speaks BGP and a client behind it, all in network namespaces and all
// dual stack. Penstock is installed on it as an operator does, and a real L7 tier behind it.
//
//	client ── router ═ switch ─┬─ lb1, lb2        LB nodes
//	            │              └─ in1, in2, in3   ingress nodes, with the pods
//	            hub                               API server, scheduler, controllers
//
// # A node
//
// A node is a network namespace, on whose eth0 the router's switch is, and a process in mount, PID, UTS
// and IPC namespaces of its own: this test binary once more, as PID 1, see init.go. It has its own
// /proc, /sys, bpffs, /run and /var/lib, and runs containerd, kubelet and kube-proxy, which is in mode
// nftables on some nodes and in mode iptables on others. When it is killed all that ran on the
// node goes, as where the power is cut.
//
// # What there is not
//
// There is no DNS. Pods' networks are made by the CNI plugins bridge and host-local, with routes to
// each other's nodes. Images are imported, not pulled.
//
// # Scenes
//
// One cluster serves all scenes, in their order, as starting it takes longer than most of
// them. Each prints a row of what it cost. From the scene watched on a real Prometheus in the hub has the
// alerts that operators get: none in a cluster that is well, and the right ones while nodes are dead.
package cluster
