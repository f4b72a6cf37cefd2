package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/test/kubetest"
)

// The names that the L7 tier serves: one by an Ingress, the other by an HTTPRoute.
const ingressHost, routeHost = "a.example", "b.example"

// gatewayAPI has the definitions of its kinds.
const gatewayAPI = "sigs.k8s.io/gateway-api@v1.6.3"

// DeployTraefik brings up the L7 tier and what is behind it, and gives the addresses of its Service.
func (s *Site) DeployTraefik() []netip.Addr {
	s.tb.Helper()
	tar := traefikTar(s.tb)
	errs := make([]error, len(s.Ingress))
	var importing sync.WaitGroup
	for i, n := range s.Ingress {
		importing.Go(func() { errs[i] = n.Import(tar) })
	}
	s.apply("--server-side", "-f", filepath.Join(kubetest.ModuleDir(s.tb, gatewayAPI), "config/crd/standard"))
	s.API.Kubectl(s.tb, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	importing.Wait()
	for _, err := range errs {
		if err != nil {
			s.tb.Fatal(err)
		}
	}
	s.apply("-f", "testdata/traefik.yaml", "-f", "testdata/echo.yaml")
	s.WaitDeployment("ingress", "traefik")
	s.WaitDeployment("shop", "echo")
	return s.VIPs("ingress", "traefik")
}

// apply is kubectl apply. A crowded machine may answer too late, and kubectl does not ask again.
func (s *Site) apply(args ...string) {
	s.tb.Helper()
	s.Wait("kubectl apply", func() error {
		out, err := s.API.TryKubectl("", append([]string{"apply"}, args...)...)
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		return err
	})
}

// WaitDeployment waits until all pods of a Deployment are of its newest revision and available, and
// none of another is there that is not about to end.
func (s *Site) WaitDeployment(namespace, name string) {
	s.tb.Helper()
	s.Wait("Deployment "+namespace+"/"+name, func() error {
		d, err := s.API.Client.AppsV1().Deployments(namespace).Get(s.tb.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		st, want := d.Status, *d.Spec.Replicas
		if st.ObservedGeneration != d.Generation || st.Replicas != want || st.AvailableReplicas != want || st.UpdatedReplicas != want {
			return fmt.Errorf("of %d there are %d, updated %d, available %d", want, st.Replicas, st.UpdatedReplicas, st.AvailableReplicas)
		}
		return nil
	})
}

// Answer is what the echo pod said.
type Answer struct {
	Pod string // that answered
	For string // the client, as the L7 tier saw it
	By  string // the pod of the L7 tier
}

func parseAnswer(line string) (a Answer, err error) {
	for f := range strings.FieldsSeq(line) {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "pod":
			a.Pod = v
		case "for":
			a.For = v
		case "by":
			a.By = v
		}
	}
	if a.Pod == "" {
		err = fmt.Errorf("no answer of an echo pod: %q", line)
	}
	return a, err
}

// transport makes connections from the client, each time another one.
func (s *Site) transport() *http.Transport {
	return &http.Transport{DialContext: s.Client.DialContext, DisableKeepAlives: true}
}

// Get asks the L7 tier for a page of a host.
func (s *Site) Get(vip netip.Addr, host string) (Answer, error) {
	client := http.Client{Transport: s.transport(), Timeout: 5 * time.Second}
	r, err := http.NewRequest(http.MethodGet, "http://"+netip.AddrPortFrom(vip, 80).String()+"/", nil)
	if err != nil {
		return Answer{}, err
	}
	r.Host = host
	resp, err := client.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return Answer{}, fmt.Errorf("%s: %s", resp.Status, body)
	}
	return parseAnswer(string(body))
}

// Logged are the clients in the access logs of the L7 tier, with the number of their requests.
func (s *Site) Logged() (map[netip.Addr]int, error) {
	out, err := s.API.TryKubectl("", "-n", "ingress", "logs", "-l", "app=traefik", "--tail=-1", "--prefix=false")
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	seen := map[netip.Addr]int{}
	for line := range strings.Lines(out) {
		var entry struct{ ClientAddr string }
		if json.Unmarshal([]byte(line), &entry) != nil || entry.ClientAddr == "" {
			continue // of the log proper
		}
		host, _, err := net.SplitHostPort(entry.ClientAddr)
		if err != nil {
			return nil, err
		}
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return nil, err
		}
		seen[addr]++
	}
	return seen, nil
}

// IngressAddresses are those that the Ingress's status tells of.
func (s *Site) IngressAddresses() (list []netip.Addr, err error) {
	i, err := s.API.Client.NetworkingV1().Ingresses("shop").Get(s.tb.Context(), "echo", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	for _, a := range i.Status.LoadBalancer.Ingress {
		addr, err := netip.ParseAddr(a.IP)
		if err != nil {
			return nil, err
		}
		list = append(list, addr)
	}
	return list, nil
}
