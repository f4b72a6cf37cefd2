package cluster

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/penstock-lb/penstock/test/fixture"
)

const (
	prometheusAddress = "127.0.0.1:9090" // in the hub
	alertsFile        = "../../deploy/chart/alerts.yaml"
	monitorFile       = "../../deploy/overlays/prometheus-operator/monitors.yaml"
)

// StartPrometheus has a real Prometheus watch the agents by the alerts that operators get, and by
// what the Prometheus operator makes of their PodMonitor. Debian's knows nothing of Kubernetes, so its
// targets are in a file, with the labels that it would find there.
func (s *Site) StartPrometheus() {
	s.tb.Helper()
	dir := fixture.Scratch(s.whole, "prometheus")
	file := func(name string) string { return filepath.Join(dir, name) }
	s.targetsFile = file("targets.json")
	alerts, err := filepath.Abs(alertsFile)
	if err != nil {
		s.tb.Fatal(err)
	}
	port, relabel := s.monitor()
	config, err := yaml.Marshal(map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": []any{alerts},
		"scrape_configs": []any{map[string]any{
			"job_name":        system + "/penstock",
			"file_sd_configs": []any{map[string]any{"files": []string{s.targetsFile}}},
			"relabel_configs": append([]any{
				relabeling("keep", "pod_label_app_kubernetes_io_name", "", "penstock"),
				relabeling("keep", "pod_container_port_name", "", port),
				relabeling("replace", "namespace", "namespace", "(.*)"),
				relabeling("replace", "pod_name", "pod", "(.*)"),
			}, relabel...),
		}},
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	if err := os.WriteFile(file("prometheus.yml"), config, 0o600); err != nil {
		s.tb.Fatal(err)
	}
	s.Hub.Start(s.whole, "prometheus", "--config.file="+file("prometheus.yml"), "--storage.tsdb.path="+file("data"),
		"--web.listen-address="+prometheusAddress, "--log.level=warn")
}

func relabeling(action, source, target, regex string) map[string]any {
	r := map[string]any{"action": action, "source_labels": []string{"__meta_kubernetes_" + source}, "regex": regex}
	if target != "" {
		r["target_label"] = target
	}
	return r
}

// monitor is which port the PodMonitor names, and its relabelings as Prometheus spells them.
func (s *Site) monitor() (port string, relabelings []any) {
	s.tb.Helper()
	var m struct {
		Spec struct {
			PodMetricsEndpoints []struct {
				Port        string           `json:"port"`
				Relabelings []map[string]any `json:"relabelings"`
			} `json:"podMetricsEndpoints"`
		} `json:"spec"`
	}
	b, err := os.ReadFile(monitorFile)
	if err == nil {
		err = yaml.Unmarshal(b, &m)
	}
	if err != nil || len(m.Spec.PodMetricsEndpoints) != 1 {
		s.tb.Fatalf("%s: %d endpoints, %v", monitorFile, len(m.Spec.PodMetricsEndpoints), err)
	}
	for _, r := range m.Spec.PodMetricsEndpoints[0].Relabelings {
		said := map[string]any{}
		for key, value := range r {
			said[strings.NewReplacer("sourceLabels", "source_labels", "targetLabel", "target_label").Replace(key)] = value
		}
		relabelings = append(relabelings, said)
	}
	return m.Spec.PodMetricsEndpoints[0].Port, relabelings
}

// writeTargets tells Prometheus of the pods that there are now, and how many are to answer.
func (s *Site) writeTargets() (agents int, err error) {
	pods, err := s.API.Client.CoreV1().Pods(system).List(s.tb.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component in (lb, backend)"})
	if err != nil {
		return 0, err
	}
	const meta = "__meta_kubernetes_"
	list := []map[string]any{}
	for _, p := range pods.Items {
		for _, port := range p.Spec.Containers[0].Ports {
			labels := map[string]string{
				meta + "namespace": p.Namespace, meta + "pod_name": p.Name, meta + "pod_node_name": p.Spec.NodeName,
				meta + "pod_container_port_name": port.Name,
			}
			for k, v := range p.Labels {
				labels[meta+"pod_label_"+strings.NewReplacer(".", "_", "/", "_", "-", "_").Replace(k)] = v
			}
			address := net.JoinHostPort(p.Status.PodIP, strconv.Itoa(int(port.ContainerPort)))
			list = append(list, map[string]any{"targets": []string{address}, "labels": labels})
		}
	}
	b, err := json.Marshal(list)
	if err != nil {
		return 0, err
	}
	if was, err := os.ReadFile(s.targetsFile); err == nil && bytes.Equal(was, b) {
		return len(list), nil
	}
	if err := os.WriteFile(s.targetsFile+".new", b, 0o600); err != nil {
		return 0, err
	}
	return len(list), os.Rename(s.targetsFile+".new", s.targetsFile) // whole, as it is read at once
}
