package manifests

import (
	"fmt"
	stdmaps "maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/penstock-lb/penstock/agent/desired"
)

// merge joins the files in the order of their names. Of an object that several
// documents define, the first is taken and the others are problems.
func merge(files map[string]*file) desired.Snapshot {
	var s desired.Snapshot
	owner := map[id]string{}
	for _, name := range slices.Sorted(stdmaps.Keys(files)) {
		f := files[name]
		if f.unread.Message != "" {
			s.Problems = append(s.Problems, f.unread)
		}
		s.Problems = append(s.Problems, f.problems...)
		for i, o := range append(slices.Clone(f.objects), f.kept...) {
			if first, twice := owner[o.id]; twice {
				if i < len(f.objects) {
					s.Problems = append(s.Problems, o.problem(name, fmt.Sprintf("%s defines it too and is used; remove one of them", first)))
				}
				continue
			}
			owner[o.id] = fmt.Sprintf("%s, document %d,", name, o.document)
			switch v := o.value.(type) {
			case *corev1.Service:
				s.Services = append(s.Services, v)
			case *discoveryv1.EndpointSlice:
				s.Slices = append(s.Slices, v)
			case *corev1.Pod:
				s.Pods = append(s.Pods, v)
			case *corev1.Node:
				s.Nodes = append(s.Nodes, v)
			}
		}
	}
	return s
}
