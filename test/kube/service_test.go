package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// webYAML is a Service as a user would write it, for the pods of an app of the same name.
func webYAML(name string, more ...string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata:
  name: %[1]s
  namespace: default
spec:
  type: LoadBalancer
  loadBalancerClass: penstock.dev/xdp
  allocateLoadBalancerNodePorts: false
  externalTrafficPolicy: Local
  ipFamilyPolicy: RequireDualStack
  selector: {app: %[1]s}
  ports: [{name: http, port: 80, targetPort: http}]
%[2]s`, name, strings.Join(more, "\n"))
}

// apply applies YAML as a user does.
func (s *site) apply(yaml string) {
	s.t.Helper()
	s.api.Apply(s.t, yaml)
}

// patch edits a Service as kubectl patch does.
func (s *site) patch(name, json string) {
	s.t.Helper()
	s.api.Kubectl(s.t, "", "patch", "service", name, "--type", "merge", "-p", json)
}

// service reads a Service.
func (s *site) service(name string) *corev1.Service {
	s.t.Helper()
	svc, err := s.api.Client.CoreV1().Services(metav1.NamespaceDefault).Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		s.t.Fatal(err)
	}
	return svc
}

// addresses are those in a Service's status.
func (s *site) addresses(name string) (list []netip.Addr) {
	s.t.Helper()
	for _, i := range s.service(name).Status.LoadBalancer.Ingress {
		addr, err := netip.ParseAddr(i.IP)
		if err != nil || i.IPMode == nil || *i.IPMode != corev1.LoadBalancerIPModeVIP {
			s.t.Errorf("status of %s has %+v", name, i)
		}
		list = append(list, addr)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

// waitAddresses waits until a Service has n addresses.
func (s *site) waitAddresses(name string, n int) []netip.Addr {
	s.t.Helper()
	var list []netip.Addr
	s.wait(fmt.Sprintf("%d addresses of %s", n, name), func() error {
		if list = s.addresses(name); len(list) != n {
			return fmt.Errorf("it has %v, and says %+v", list, s.service(name).Status.Conditions)
		}
		return nil
	})
	return list
}

// waitRoutes waits until the router has n ways to each address.
func (s *site) waitRoutes(vips []netip.Addr, n int) {
	s.t.Helper()
	for _, vip := range vips {
		s.wait(fmt.Sprintf("%d routes to %s", n, vip), func() error {
			hops, err := s.Routes(vip)
			if err == nil && len(hops) != n {
				err = fmt.Errorf("the router has %v", hops)
			}
			return err
		})
	}
}

// served applies a Service for the pods of the same name and waits until the router has all ways
// to it. The addresses are IPv4's first.
func (s *site) served(name string, more ...string) []netip.Addr {
	s.t.Helper()
	s.apply(webYAML(name, more...))
	vips := s.waitAddresses(name, 2)
	s.waitRoutes(vips, len(s.LBs))
	return vips
}

// ask makes a request on a connection of its own.
func (s *site) ask(vip netip.Addr, port uint16) (string, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: s.Client.DialContext}
	return get(s.t.Context(), transport, vip, port)
}

// waitAnswer waits until an address answers on port 80.
func (s *site) waitAnswer(vips ...netip.Addr) {
	s.t.Helper()
	for _, vip := range vips {
		s.wait("an answer of "+vip.String(), func() error {
			_, err := s.ask(vip, 80)
			return err
		})
	}
}

// waitRefused waits until an address gives no answer on a port any more.
func (s *site) waitRefused(vip netip.Addr, port uint16) {
	s.t.Helper()
	s.wait(fmt.Sprintf("%s to be closed", netip.AddrPortFrom(vip, port)), func() error {
		conn, err := s.dial(vip, port, time.Second)
		if err != nil {
			return nil
		}
		conn.Close()
		return fmt.Errorf("it can be connected to")
	})
}

// dial opens a TCP connection from the client.
func (s *site) dial(vip netip.Addr, port uint16, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), timeout)
	defer cancel()
	return s.Client.DialContext(ctx, "tcp", netip.AddrPortFrom(vip, port).String())
}

// waitTables waits until no LB node has a port of a Service in its tables.
func (s *site) waitTables(name string) {
	s.t.Helper()
	for _, b := range s.LBs {
		s.wait("the tables of "+b.Name+" without "+name, func() error {
			var list []struct{ Name string }
			out, err := b.Penstock("services", "-o", "json")
			if err == nil {
				err = json.Unmarshal([]byte(out), &list)
			}
			for _, f := range list {
				if strings.HasPrefix(f.Name, "default/"+name+":") {
					err = fmt.Errorf("there is %s", f.Name)
				}
			}
			return err
		})
	}
}
