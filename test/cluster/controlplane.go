package cluster

import (
	"net"
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/test/kubetest"
)

// controlPlane starts it in the hub, and has it answer on the address of the Service kubernetes.
func (s *Site) controlPlane() {
	s.tb.Helper()
	users := []kubetest.User{{Name: proxyUser}}
	for _, n := range s.Nodes() {
		users = append(users, kubetest.User{Name: "system:node:" + n.Name, Groups: []string{"system:nodes"}})
	}
	s.API = kubetest.StartWith(s.tb, kubetest.Options{Netns: s.Hub, Users: users, Args: []string{
		"-controllers", "*", "-unreachable-after", "10s", "-scheduler", "--",
		"--kubelet-preferred-address-types=InternalIP", "--enable-admission-plugins=NodeRestriction",
	}})
	address, _, _ := strings.Cut(apiAddress, ":")
	s.Hub.AddAddr(s.tb, "lo", address+"/32")
	s.Router.AddRoute(s.tb, address+"/32", hub4)
	server := strings.TrimPrefix(s.API.Config.Host, "https://")
	relay(s.tb, s.Hub, apiAddress, server)
	relay(s.tb, s.Hub, net.JoinHostPort(hub4, strconv.Itoa(apiPort)), server)
	// A server on a loopback address has no endpoint of its own.
	if _, err := s.API.Client.DiscoveryV1().EndpointSlices("default").Create(s.tb.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{hub4}}},
		Ports:       []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(apiPort))}},
	}, metav1.CreateOptions{}); err != nil {
		s.tb.Fatal(err)
	}
}
