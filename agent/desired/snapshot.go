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
	Services []*corev1.Service
	Slices   []*discoveryv1.EndpointSlice
	Nodes    []*corev1.Node
	Problems []Problem // what the source could not use
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
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Document > 0 {
		fmt.Fprintf(&b, ": document %d", p.Document)
	}
	if p.Kind != "" {
		fmt.Fprintf(&b, ": %s", strings.TrimSpace(p.Kind+" "+p.object()))
	}
	if p.Field != "" {
		fmt.Fprintf(&b, ": %s", p.Field)
		if p.Value != "" {
			fmt.Fprintf(&b, " = %s", p.Value)
		}
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

func (p Problem) object() string {
	if p.Namespace == "" || p.Name == "" {
		return p.Name
	}
	return p.Namespace + "/" + p.Name
}
