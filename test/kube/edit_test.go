package kube

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/lab"
)

// TestEdits changes a Service that is being used, each time with what must follow.
func TestEdits(t *testing.T) {
	s := newSite(t, lab.Options{})
	s.addPods("web", 3)
	s.addPods("other", 1)
	s.startAll()
	// Its load goes on all the time: no edit of web may be felt there.
	others := s.served("other")
	s.waitAnswer(others...)
	load := s.startLoad(others)
	vips := s.served("web")
	s.waitAnswer(vips...)

	t.Run("type", func(t *testing.T) {
		s.patch("web", `{"spec":{"type":"ClusterIP","loadBalancerClass":null,"externalTrafficPolicy":null,"allocateLoadBalancerNodePorts":null}}`)
		s.gone("web", vips)
		s.patch("web", `{"spec":{"type":"LoadBalancer","loadBalancerClass":"penstock.dev/xdp","allocateLoadBalancerNodePorts":false}}`)
		vips = s.waitAddresses("web", 2)
		s.waitRoutes(vips, 2)
		s.waitAnswer(vips...)
	})

	t.Run("class", func(t *testing.T) { // of a LoadBalancer it can't be changed
		s.patch("web", `{"spec":{"type":"ClusterIP","loadBalancerClass":null,"externalTrafficPolicy":null,"allocateLoadBalancerNodePorts":null}}`)
		s.patch("web", `{"spec":{"type":"LoadBalancer","loadBalancerClass":"example.com/other"}}`)
		s.gone("web", vips)
		s.patch("web", `{"spec":{"type":"ClusterIP","loadBalancerClass":null,"externalTrafficPolicy":null,"allocateLoadBalancerNodePorts":null}}`)
		s.patch("web", `{"spec":{"type":"LoadBalancer","loadBalancerClass":"penstock.dev/xdp"}}`)
		vips = s.waitAddresses("web", 2)
		s.waitRoutes(vips, 2)
		s.waitAnswer(vips...)
	})

	t.Run("ports", func(t *testing.T) {
		s.patch("web", `{"spec":{"ports":[{"name":"http","port":80,"targetPort":"http"},{"name":"alt","port":8000,"targetPort":8080}]}}`)
		s.waitPort(vips, 8000)
		s.waitPort(vips, 80)
		s.patch("web", `{"spec":{"ports":[{"name":"alt","port":8000,"targetPort":8080}]}}`)
		s.waitRefused(vips[0], 80)
		s.waitRefused(vips[1], 80)
		s.waitPort(vips, 8000)
		s.same("web", vips)
		s.patch("web", `{"spec":{"ports":[{"name":"http","port":80,"targetPort":"http"}]}}`)
		s.waitPort(vips, 80)
		s.same("web", vips)
	})

	t.Run("families", func(t *testing.T) {
		s.patch("web", `{"spec":{"ipFamilyPolicy":"SingleStack","ipFamilies":["IPv4"],"clusterIPs":["`+s.service("web").Spec.ClusterIP+`"]}}`)
		if got := s.waitAddresses("web", 1); got[0] != vips[0] {
			t.Errorf("with one family it has %v, it had %v", got, vips)
		}
		s.waitRoutes(vips[1:], 0)
		s.waitRefused(vips[1], 80)
		s.waitPort(vips[:1], 80)
		s.patch("web", `{"spec":{"ipFamilyPolicy":"PreferDualStack"}}`)
		got := s.waitAddresses("web", 2)
		if got[0] != vips[0] {
			t.Errorf("with both families it has %v, it had %v", got, vips)
		}
		vips = got
		s.waitRoutes(vips, 2)
		s.waitPort(vips, 80)
	})

	t.Run("source ranges", func(t *testing.T) {
		var flows []net.Conn
		for _, vip := range vips {
			conn, err := s.dial(vip, 80, 5*time.Second)
			if err == nil {
				defer conn.Close()
				err = ping(conn)
			}
			if err != nil {
				t.Fatal(err)
			}
			flows = append(flows, conn)
		}
		s.patch("web", `{"spec":{"loadBalancerSourceRanges":["203.0.113.0/24","2001:db8:ffff::/48"]}}`)
		for i, vip := range vips {
			s.waitRefused(vip, 80)
			if err := ping(flows[i]); err == nil {
				t.Errorf("a flow to %s goes on whose client may not come here any more", vip)
			}
		}
		s.patch("web", `{"spec":{"loadBalancerSourceRanges":["192.0.2.0/24"]}}`)
		s.waitPort(vips[:1], 80)
		s.waitRefused(vips[1], 80) // for IPv6 there is no range that anybody is in
		s.patch("web", `{"spec":{"loadBalancerSourceRanges":["2001:db8:1::/64"]}}`)
		s.waitPort(vips[1:], 80)
		s.patch("web", `{"spec":{"loadBalancerSourceRanges":null}}`)
		s.waitPort(vips, 80)
		s.same("web", vips)
	})

	t.Run("traffic policy", func(t *testing.T) {
		inner := s.startLoad(vips)
		for _, policy := range []string{"Local", "Cluster", "Local"} {
			s.patch("web", `{"spec":{"externalTrafficPolicy":"`+policy+`"}}`)
			s.more(inner, 200)
		}
		inner.Check()
		for addr := range s.clients("/app") {
			if addr != lab.Client4.String() && addr != lab.Client6.String() {
				t.Errorf("nginx has seen %s", addr)
			}
		}
		s.same("web", vips)
	})

	s.same("other", others)
	load.Check()
}

// gone waits until nothing is left of a Service that is not ours any more.
func (s *site) gone(name string, vips []netip.Addr) {
	s.t.Helper()
	s.waitRoutes(vips, 0)
	s.waitTables(name)
	s.wait("the status of "+name+" to be empty", func() error {
		if st := s.service(name).Status; len(st.LoadBalancer.Ingress) > 0 || len(st.Conditions) > 0 {
			return fmt.Errorf("it is %+v", st)
		}
		return nil
	})
}

// waitPort waits until addresses answer on a port.
func (s *site) waitPort(vips []netip.Addr, port uint16) {
	s.t.Helper()
	for _, vip := range vips {
		s.wait("an answer of "+netip.AddrPortFrom(vip, port).String(), func() error {
			_, err := s.ask(vip, port)
			return err
		})
	}
}

// ping makes a request on an open connection.
func ping(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("GET /app HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 4096))
	return err
}
