package desired

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Bundle is all objects of one Service. Objects are shared and must not be modified. Two
// bundles are the same if all their pointers are.
type Bundle struct {
	Service   *corev1.Service              // nil: there are only slices
	Slices    []*discoveryv1.EndpointSlice // by name
	Pods      []*corev1.Pod                // of its endpoints, by namespace and name
	Namespace *corev1.Namespace            // nil where it is not known
}

// Delta is what changed in a source since it was last asked.
type Delta struct {
	// Reset says that the Delta has everything: what it does not name is gone.
	Reset bool
	// Bundles that changed, by the Service's namespace/name; an empty one is gone.
	Bundles map[string]Bundle
	// Nodes are all nodes, if NodesChanged (or Reset).
	Nodes        []*corev1.Node
	NodesChanged bool
	Problems     []Problem // all that there are
}

// Whole gives the Delta that stands for a snapshot.
func Whole(s Snapshot) Delta {
	d := Delta{Reset: true, Bundles: map[string]Bundle{}, Nodes: s.Nodes, NodesChanged: true, Problems: s.Problems}
	spaces := map[string]*corev1.Namespace{}
	for _, n := range s.Namespaces {
		spaces[n.Name] = n
	}
	for _, svc := range s.Services {
		d.Bundles[key(svc)] = Bundle{Service: svc, Namespace: spaces[svc.Namespace]}
	}
	pods := byName(s.Pods)
	for name, group := range byService(s.Slices) {
		b := d.Bundles[name]
		b.Slices, b.Pods = group, podsOf(group, pods)
		d.Bundles[name] = b
	}
	return d
}

// podsOf finds the pods that slices name.
func podsOf(group []*discoveryv1.EndpointSlice, pods map[string]*corev1.Pod) (out []*corev1.Pod) {
	for _, s := range group {
		for _, ep := range s.Endpoints {
			if p := podOf(ep, s, pods); p != nil {
				out = append(out, p)
			}
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(out)
}
