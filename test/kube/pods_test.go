package kube

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/test/fixture"
	"github.com/penstock-lb/penstock/test/lab"
)

// podPort is where the L7 tier listens.
const podPort = 8080

// pod is a Pod of the cluster and the namespace that is it, with nginx in it.
type pod struct {
	*lab.Pod
	nginx    *fixture.Nginx
	draining string // a file: while it is there, answers close their connection
}

// l7 answers with the pod's name; a draining server asks clients to come again on another
// connection, as ingress controllers do, so that no request is cut off in the end.
const l7 = `
		location = /app {
			default_type text/plain;
			error_page 418 = @draining;
			if (-f FLAG) { return 418; }
			return 200 "server=NAME client=$remote_addr\n";
		}
		location @draining {
			default_type text/plain;
			keepalive_timeout 0;
			return 200 "server=NAME client=$remote_addr draining\n";
		}
`

// addPod starts a pod of an app on the n-th ingress node; it is Ready when it returns.
func (s *site) addPod(app string, n int) *pod {
	s.t.Helper()
	s.names[app]++
	name := fmt.Sprintf("%s-%d", app, s.names[app])
	p := &pod{Pod: s.Ingress[n%len(s.Ingress)].NewPod(s.t, name), draining: filepath.Join(s.t.TempDir(), "draining")}
	p.nginx = fixture.StartNginx(s.t, p.Netns, name, fixture.NginxOptions{
		Listen: []string{fmt.Sprint(podPort), fmt.Sprintf("[::]:%d", podPort)}, BigFile: 1 << 20,
		Extra: strings.NewReplacer("FLAG", p.draining, "NAME", name).Replace(l7),
	})
	off := false
	object := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			NodeName: p.Node.Name, AutomountServiceAccountToken: &off,
			Containers: []corev1.Container{{Name: "nginx", Image: "nginx", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: podPort}}}},
		},
	}
	s.wait("the default ServiceAccount", func() error { // made by a controller, and required by admission
		_, err := s.api.Client.CoreV1().Pods(object.Namespace).Create(s.t.Context(), object, metav1.CreateOptions{})
		return err
	})
	p.Begin(time.Now())
	p.SetReady(true, time.Now())
	s.publish(p)
	s.pods = append(s.pods, p)
	return p
}

// addPods is addPod n times, on one ingress node after the other.
func (s *site) addPods(app string, n int) {
	s.t.Helper()
	for i := range n {
		s.addPod(app, i)
	}
}

// setReady does what a kubelet does after a probe.
func (s *site) setReady(p *pod, ready bool) {
	s.t.Helper()
	p.SetReady(ready, time.Now())
	s.publish(p)
}

// publish writes a Pod's status, as its kubelet would.
func (s *site) publish(p *pod) {
	s.t.Helper()
	pods := s.api.Client.CoreV1().Pods(metav1.NamespaceDefault)
	object, err := pods.Get(s.t.Context(), p.Name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	started := metav1.NewTime(p.StartedAt)
	status := map[bool]corev1.ConditionStatus{true: corev1.ConditionTrue, false: corev1.ConditionFalse}[p.Ready]
	object.Status.Phase, object.Status.StartTime = corev1.PodRunning, &started
	object.Status.HostIPs = []corev1.HostIP{{IP: p.Node.Addr4.String()}, {IP: p.Node.Addr6.String()}}
	object.Status.HostIP = p.Node.Addr4.String()
	object.Status.PodIP = p.Addr4.String()
	object.Status.PodIPs = []corev1.PodIP{{IP: p.Addr4.String()}, {IP: p.Addr6.String()}}
	object.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(p.ReadySince)},
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}
	object.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "nginx", Image: "nginx", Ready: p.Ready, State: running}}
	if _, err := pods.UpdateStatus(s.t.Context(), object, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// drain begins a Pod's termination: it keeps its connections for as long as clients want them.
func (s *site) drain(p *pod) {
	s.t.Helper()
	grace := int64(30)
	if err := s.api.Client.CoreV1().Pods(metav1.NamespaceDefault).Delete(s.t.Context(), p.Name,
		metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
		s.t.Fatal(err)
	}
	p.Delete(time.Now(), 30*time.Second)
}

// preStop is how long a Pod goes on taking connections after its deletion was asked for, by such
// a hook: the word must get round first.
const preStop = 3 * time.Second

// finish ends a Pod that drains: its server asks clients to go, and ends after the last one has.
func (s *site) finish(p *pod) {
	s.t.Helper()
	time.Sleep(time.Until(p.DeletedAt.Add(preStop)))
	if err := os.WriteFile(p.draining, nil, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.wait("the last connection of "+p.Name, func() error {
		out, err := p.Output("ss", "-Htn", "state", "established", fmt.Sprintf("sport = :%d", podPort))
		if err == nil && out != "" {
			err = fmt.Errorf("there is still %s", out)
		}
		return err
	})
	p.nginx.Quit(s.t)
	now := int64(0)
	if err := s.api.Client.CoreV1().Pods(metav1.NamespaceDefault).Delete(s.t.Context(), p.Name,
		metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		s.t.Fatal(err)
	}
	s.pods = slices.DeleteFunc(s.pods, func(other *pod) bool { return other == p })
}

// clients are the addresses in the access logs of the pods, of requests for path.
func (s *site) clients(path string) map[string]int {
	s.t.Helper()
	seen := map[string]int{}
	for _, p := range s.pods {
		text, err := os.ReadFile(p.nginx.AccessLog())
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			if client, request, ok := strings.Cut(string(line), " "); ok && strings.Contains(request, " "+path+" ") {
				seen[client]++
			}
		}
	}
	return seen
}
