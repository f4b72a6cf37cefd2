package kube

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/bpf"
	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// BenchmarkScale is what one LB node's agent takes for many Services of ten endpoints each, and
// how long one new endpoint takes from the API server to the map.
//
//	go test -run '^$' -bench Scale -benchtime 20x -timeout 30m ./test/kube
func BenchmarkScale(b *testing.B) {
	for _, services := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) { scale(b, services) })
	}
}

func scale(b *testing.B, services int) {
	s := newSite(b, lab.Options{})
	agent := &s.LBs[0].Host
	roomy(b, agent)
	agent.StartAgent(b, "--datapath-rows=256", fmt.Sprintf("--datapath-max-rows=%d", services*2560), "--datapath-max-backends=262144")
	agent.WaitAgent(b)
	began := time.Now()
	s.crowd(services)
	created := time.Since(began)
	s.waitTablesN(agent, services)
	allocated := time.Since(began)
	_, cpu := usage(b, agent)
	var times []time.Duration
	indices := openMap(b, agent, "backend_indices")
	id := serviceID(b, agent, "default/s7:80/tcp/ipv6")
	n := 0
	for b.Loop() {
		n++
		times = append(times, s.grow(b, indices, id, n))
	}
	rss, after := usage(b, agent)
	slices.Sort(times)
	b.ReportMetric(float64(times[0].Microseconds())/1000, "change-min-ms")
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "change-median-ms")
	b.ReportMetric(float64((after-cpu).Microseconds())/1000/float64(n), "change-cpu-ms")
	b.ReportMetric(float64(rss)/(1<<20), "own-MiB")
	b.ReportMetric(created.Seconds(), "created-s")
	b.ReportMetric(allocated.Seconds(), "served-s")
	b.ReportMetric(cpu.Seconds(), "start-cpu-s")
	b.ReportMetric(0, "ns/op")
}

// roomy gives the agent a pool for all of them.
func roomy(b *testing.B, h *lab.Host) {
	text, err := os.ReadFile(h.Config())
	if err != nil {
		b.Fatal(err)
	}
	wide := strings.ReplaceAll(string(text), lab.Pool6, "2001:db8:100:0:1::/80")
	if err := os.WriteFile(h.Config(), []byte(wide), 0o600); err != nil {
		b.Fatal(err)
	}
}

// crowd creates Services with slices of their own.
func (s *site) crowd(services int) {
	s.t.Helper()
	g, ctx := errgroup.WithContext(s.t.Context())
	g.SetLimit(16)
	for i := range services {
		g.Go(func() error {
			slice := crowdSlice(i)
			if _, err := s.api.Client.DiscoveryV1().EndpointSlices("default").Create(ctx, slice, metav1.CreateOptions{}); err != nil {
				return err
			}
			class := "penstock.dev/xdp"
			_, err := s.api.Client.CoreV1().Services("default").Create(ctx, &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s%d", i)},
				Spec: corev1.ServiceSpec{
					Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: &class, AllocateLoadBalancerNodePorts: new(bool),
					IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol}, Ports: []corev1.ServicePort{{Port: 80}},
				},
			}, metav1.CreateOptions{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		s.t.Fatal(err)
	}
}

func crowdSlice(i int) *discoveryv1.EndpointSlice {
	port, protocol := int32(8080), corev1.ProtocolTCP
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: fmt.Sprintf("s%d", i), Labels: map[string]string{discoveryv1.LabelServiceName: fmt.Sprintf("s%d", i)}},
		AddressType: discoveryv1.AddressTypeIPv6, Ports: []discoveryv1.EndpointPort{{Port: &port, Protocol: &protocol}},
	}
	for n := range 10 {
		slice.Endpoints = append(slice.Endpoints, crowdEndpoint(i, n))
	}
	return slice
}

func crowdEndpoint(i, n int) discoveryv1.Endpoint {
	ready := true
	return discoveryv1.Endpoint{Addresses: []string{crowdAddr(i, n).String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
}

func crowdAddr(i, n int) netip.Addr {
	a := netip.MustParseAddr("fd00:99::").As16()
	binary.BigEndian.PutUint32(a[8:], uint32(i))
	binary.BigEndian.PutUint32(a[12:], uint32(n+1))
	return netip.AddrFrom16(a)
}

// grow adds an endpoint to one Service, and gives the time until the map has it.
func (s *site) grow(b *testing.B, indices *ebpf.Map, service uint32, n int) time.Duration {
	const of = 7
	ctx := context.Background()
	slices := s.api.Client.DiscoveryV1().EndpointSlices("default")
	slice, err := slices.Get(ctx, fmt.Sprintf("s%d", of), metav1.GetOptions{})
	if err != nil {
		b.Fatal(err)
	}
	slice.Endpoints = append(slice.Endpoints, crowdEndpoint(of, 100+n))
	if _, err := slices.Update(ctx, slice, metav1.UpdateOptions{}); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	key := make([]byte, 24) // struct backend_key
	addr := crowdAddr(of, 100+n).As16()
	copy(key, addr[:])
	binary.NativeEndian.PutUint32(key[16:], service)
	binary.BigEndian.PutUint16(key[20:], 8080)
	for {
		var index uint32
		err := indices.Lookup(key, &index)
		if err == nil {
			return time.Since(began)
		}
		if !errors.Is(err, ebpf.ErrKeyNotExist) || time.Since(began) > time.Minute {
			b.Fatalf("endpoint %d: %v", n, err)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// waitTablesN waits until so many services are in the kernel.
func (s *site) waitTablesN(h *lab.Host, n int) {
	s.t.Helper()
	fixture.Wait(s.t, 10*time.Minute, fmt.Sprintf("%d services of %s", n, h.Name), func() error {
		services, err := pinned(h, "services")
		if err != nil {
			return err
		}
		defer services.Close()
		var key uint32
		var value bpf.Service
		have := 0
		for it := services.Iterate(); it.Next(&key, &value); {
			have++
		}
		if have < n {
			return fmt.Errorf("%d of %d services are in the kernel", have, n)
		}
		return nil
	})
}

func serviceID(b *testing.B, h *lab.Host, name string) uint32 {
	services := openMap(b, h, "services")
	var key uint32
	var value bpf.Service
	for it := services.Iterate(); it.Next(&key, &value); {
		var text []byte
		for _, c := range value.Name {
			text = append(text, byte(c))
		}
		if strings.TrimRight(string(text), "\x00") == name {
			return key
		}
	}
	b.Fatalf("no service %s in the kernel", name)
	return 0
}

func openMap(b *testing.B, h *lab.Host, name string) *ebpf.Map {
	m, err := pinned(h, name)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	return m
}

// pinned opens a table of a running agent.
func pinned(h *lab.Host, name string) (*ebpf.Map, error) {
	paths, err := filepath.Glob(filepath.Join(h.Pins(), "*", name))
	if err != nil || len(paths) != 1 {
		return nil, fmt.Errorf("%d pins of %s under %s, %w", len(paths), name, h.Pins(), err)
	}
	return ebpf.LoadPinnedMap(paths[0], &ebpf.LoadPinOptions{ReadOnly: true})
}

// usage is the memory of an agent's own in bytes, without the tables of the kernel that it
// maps, and its time on the processor.
func usage(b *testing.B, h *lab.Host) (rss int64, cpu time.Duration) {
	dir := fmt.Sprintf("/proc/%d/", h.Agent.Pid())
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			rss = kib << 10
		}
	}
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return rss, time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}
