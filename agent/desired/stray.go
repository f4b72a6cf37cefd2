package desired

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/near"
)

// Prefix is that of all annotations, labels and conditions that are ours.
const Prefix = "penstock.dev/"

// Objects that annotations are read of, as texts name them.
const (
	onService = "a Service"
	onSlice   = "an EndpointSlice"
)

// place is where an annotation counts.
type place struct {
	key, where string
	on         []string // of onService, onSlice
}

// places has every annotation that people write.
var places = []place{
	{IPsAnnotation, "a Service", []string{onService}},
	{PoolAnnotation, "a Service", []string{onService}},
	{SharingKeyAnnotation, "a Service", []string{onService}},
	{ForwardingAnnotation, "a Service", []string{onService}},
	{BGPCommunitiesAnnotation, "a Service", []string{onService}},
	{BGPLocalPrefAnnotation, "a Service", []string{onService}},
	{BGPMEDAnnotation, "a Service", []string{onService}},
	{BGPPrependAnnotation, "a Service", []string{onService}},
	{BGPPeersAnnotation, "a Service", []string{onService}},
	{WeightAnnotation, "a Pod or an EndpointSlice", []string{onSlice}},
	{RoleAnnotation, "a Node", nil},
	{TunnelAnnotation, "a Node", nil},
}

// CountsOnService tells whether an annotation of ours means something on a Service. One
// whose value has to be read in the light of others counts.
func CountsOnService(key, value string) bool {
	if slices.Contains(bgpAnnotations, key) {
		return countsAsBGP(key, value)
	}
	if key == ForwardingAnnotation {
		switch Forwarding(value) {
		case ForwardingAuto, ForwardingDSR, ForwardingNAT:
			return true
		}
		return false
	}
	return countsOn(onService, key)
}

func countsOn(kind, key string) bool {
	return slices.ContainsFunc(places, func(p place) bool { return p.key == key && slices.Contains(p.on, kind) })
}

// strays says which annotations of ours mean nothing on an object of a kind, and what may
// have been meant; empty if each does. Whoever may write the object can write thousands.
func strays(kind string, o metav1.Object) string {
	var keys []string
	for key := range o.GetAnnotations() {
		if strings.HasPrefix(key, Prefix) && !countsOn(kind, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var texts []string
	for _, key := range keys[:min(len(keys), mostWrong)] {
		texts = append(texts, stray(kind, key))
	}
	if more := len(keys) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, "; ")
}

func stray(kind, key string) string {
	if i := slices.IndexFunc(places, func(p place) bool { return p.key == key }); i >= 0 {
		return fmt.Sprintf("%s does not count on %s; it is for %s", key, kind, places[i].where)
	}
	text := clipped(key) + " does not count, as no annotation is called so"
	if p, like := nearest(kind, key); like {
		text += fmt.Sprintf("; did you mean %s?", p.key)
		if !slices.Contains(p.on, kind) {
			text += fmt.Sprintf(" That is for %s", p.where)
		}
	}
	return text
}

// nearest is the annotation that is likest to key, one of the kind of two that are as like.
func nearest(kind, key string) (best place, like bool) {
	own := strings.ToLower(strings.TrimPrefix(key, Prefix))
	least := 0
	for _, p := range places {
		name := strings.TrimPrefix(p.key, Prefix)
		d := 2 * near.Distance(own, name)
		if !slices.Contains(p.on, kind) {
			d++
		}
		if d <= len(name)+1 && (!like || d < least) {
			best, least, like = p, d, true
		}
	}
	return best, like
}

// misnamed explains what of svc's own annotations does not count.
func (b *builder) misnamed(svc *corev1.Service) {
	if text := strays(onService, svc); text != "" {
		b.explain(svc, "", InvalidAnnotation, text)
	}
}
