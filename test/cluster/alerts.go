package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// query asks Prometheus by its HTTP API.
func (s *Site) query(path string, data any) error {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return s.Hub.DialContext(ctx, network, prometheusAddress)
		},
	}}
	resp, err := client.Get("http://" + prometheusAddress + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          any
	}
	answer.Data = data
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %s: %w", path, resp.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return nil
}

// targets is how many agents answer Prometheus.
func (s *Site) targets() (up int, err error) {
	var data struct {
		Result []struct{ Value [2]any }
	}
	if err := s.query("/api/v1/query?query="+url.QueryEscape("sum(up)"), &data); err != nil {
		return 0, err
	}
	for _, r := range data.Result {
		if _, err := fmt.Sscan(fmt.Sprint(r.Value[1]), &up); err != nil {
			return 0, err
		}
	}
	return up, nil
}

// alert is one that is pending or firing.
type alert struct {
	Labels map[string]string
	State  string
}

// rule is one of Prometheus', with its active alerts.
type rule struct {
	Name, Query, Health, LastError string
	Alerts                         []alert
}

// looksBack says that it asks what was, and so goes on for as long after it.
func (r rule) looksBack() bool { return strings.Contains(r.Query, "[") }

// rules are all. It is an error if there are none, or if one could not be evaluated, or was not yet.
func (s *Site) rules() (list []rule, err error) {
	var data struct{ Groups []struct{ Rules []rule } }
	if err := s.query("/api/v1/rules", &data); err != nil {
		return nil, err
	}
	for _, g := range data.Groups {
		list = append(list, g.Rules...)
	}
	for _, r := range list {
		if r.Health != "ok" {
			return nil, fmt.Errorf("rule %s is %s: %s", r.Name, r.Health, r.LastError)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no rule of %s is loaded", alertsFile)
	}
	return list, nil
}

// alerts are the active ones of how things are now.
func (s *Site) alerts() (active []alert, err error) {
	rules, err := s.rules()
	for _, r := range rules {
		if !r.looksBack() {
			active = append(active, r.Alerts...)
		}
	}
	return active, err
}

// WaitAlert waits until an alert with these labels is on its way.
func (s *Site) WaitAlert(name string, labels map[string]string) {
	s.tb.Helper()
	s.Wait("alert "+name, func() error {
		active, err := s.alerts()
		if err != nil {
			return err
		}
		for _, a := range active {
			has := maps.Clone(labels)
			maps.DeleteFunc(has, func(label, value string) bool { return a.Labels[label] == value })
			if a.Labels["alertname"] == name && len(has) == 0 {
				return nil
			}
		}
		return fmt.Errorf("active are %v", active)
	})
}

// WaitNoAlert waits until all agents are watched, and there is nothing to say of how they are now.
func (s *Site) WaitNoAlert() {
	s.tb.Helper()
	s.Wait("Prometheus to have no alert", func() error {
		agents, err := s.writeTargets()
		if err != nil {
			return err
		}
		up, err := s.targets()
		if err == nil && (up != agents || agents == 0) {
			err = fmt.Errorf("%d of %d agents answer", up, agents)
		}
		if err != nil {
			return err
		}
		active, err := s.alerts()
		if err == nil && len(active) > 0 {
			err = fmt.Errorf("active are %v", active)
		}
		return err
	})
}

// sceneWatched has Prometheus watch what comes, in a cluster that is well so far.
func (s *Site) sceneWatched() {
	start := time.Now()
	s.StartPrometheus()
	s.WaitNoAlert()
	s.row("Prometheus watches", start, "no alert")
}

// mustHaveNoDefect: all agents are watched, and none has dropped a packet by a fault of ours within the hour.
func (s *Site) mustHaveNoDefect() {
	s.tb.Helper()
	const name = "PenstockDataPathDefect"
	s.WaitNoAlert()
	rules, err := s.rules()
	if err != nil {
		s.tb.Fatal(err)
	}
	i := slices.IndexFunc(rules, func(r rule) bool { return r.Name == name })
	if i < 0 {
		s.tb.Fatalf("there is no alert %s", name)
	}
	for _, a := range rules[i].Alerts {
		s.tb.Errorf("Prometheus has %v", a)
	}
}
