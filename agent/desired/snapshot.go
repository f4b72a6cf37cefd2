package desired

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Snapshot is everything that a source of Kubernetes objects knows at one time.
// Objects are shared and must not be modified. No two objects of one kind have
// the same namespace and name.
type Snapshot struct {
	Services   []*corev1.Service
	Slices     []*discoveryv1.EndpointSlice
	Pods       []*corev1.Pod // what a source does not know of them is empty
	Nodes      []*corev1.Node
	Namespaces []*corev1.Namespace
	Problems   []Problem // what the source could not use
}

// Problem is one thing that a source could not use, and where it stands. All
// fields but Message are empty where they are not known.
type Problem struct {
	File      string `json:"file,omitempty"`
	Document  int    `json:"document,omitempty"` // counted from 1 within File
	Line      int    `json:"line,omitempty"`     // at which Document begins, counted from 1
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Field     string `json:"field,omitempty"` // as in "spec.ports[0].port"
	Value     string `json:"value,omitempty"`
	Message   string `json:"message"` // with what is done about it
}

func (p Problem) String() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case p.File != "" && p.Line > 0:
		add("%s:%d", p.File, p.Line)
	case p.File != "":
		add("%s", p.File)
	}
	if p.Document > 0 {
		add("document %d", p.Document)
	}
	if p.Kind != "" {
		add("%s", strings.TrimSpace(p.Kind+" "+p.object()))
	}
	switch {
	case p.Field != "" && p.Value != "":
		add("%s = %s", p.Field, p.Value)
	case p.Field != "":
		add("%s", p.Field)
	}
	add("%s", p.Message)
	return strings.Join(parts, ": ")
}

func (p Problem) object() string {
	if p.Namespace == "" || p.Name == "" {
		return p.Name
	}
	return p.Namespace + "/" + p.Name
}
