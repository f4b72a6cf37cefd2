package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
)

// PutStatus writes the addresses and the condition at once, or nothing where the Service
// has them already.
//
// It is a patch and no update, so that nothing else of the Service is touched: an update of
// the status replaces labels and annotations as well, and others' conditions. The
// resourceVersion in it makes it fail where the Service has changed since it was read.
func (s *store) PutStatus(ctx context.Context, c ipam.Claim, d ipam.Decision) error {
	svc, err := s.recall(ctx, c.Service, c.Version)
	if err != nil {
		return err
	}
	was := findCondition(svc.Status.Conditions)
	now := condition(d)
	moved := !slices.EqualFunc(svc.Status.LoadBalancer.Ingress, ingress(d.Addresses), sameIngress)
	if !moved && sameCondition(was, now) {
		return nil
	}
	now.LastTransitionTime = metav1.NewTime(time.Now())
	if was != nil && was.Status == now.Status {
		now.LastTransitionTime = was.LastTransitionTime
	}
	status := map[string]any{"conditions": []any{now}}
	if moved {
		status["loadBalancer"] = map[string]any{"ingress": ingress(d.Addresses)}
	}
	after, err := s.patch(ctx, svc, status)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.seen[c.Service] = sight{slim(after), s.seen[c.Service].space}
	s.mu.Unlock()
	s.said(change{service: slim(after), before: was, decision: d, moved: moved})
	return nil
}

// ingress says VIP of every address: packets arrive at the pod with it, so that
// kube-proxy should short-cut what comes from within the cluster. Without a word it would
// do the same, but then a reader could not tell whether somebody thought about it.
func ingress(addresses []netip.Addr) []corev1.LoadBalancerIngress {
	mode := corev1.LoadBalancerIPModeVIP
	var out []corev1.LoadBalancerIngress
	for _, a := range addresses {
		out = append(out, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &mode})
	}
	return out
}

func sameIngress(a, b corev1.LoadBalancerIngress) bool {
	return a.IP == b.IP && a.Hostname == b.Hostname && a.IPMode != nil && b.IPMode != nil && *a.IPMode == *b.IPMode
}

// release takes from a Service that is not ours what we wrote: the condition, and those
// addresses that it names. The API server clears the addresses itself where the type
// changes, and no conditions; what another implementation has written since stays.
func (s *store) release(ctx context.Context, service string) error {
	svc, err := s.get(ctx, service)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read service %s: %w", service, err)
	}
	was := findCondition(svc.Status.Conditions)
	if _, _, ours := desired.Claim(svc, nil, s.class()); ours || was == nil {
		return nil
	}
	mine := written(was)
	var left []corev1.LoadBalancerIngress
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err != nil || !slices.Contains(mine, a) {
			left = append(left, in)
		}
	}
	status := map[string]any{"conditions": []any{map[string]any{"$patch": "delete", "type": desired.AllocatedCondition}}}
	if len(left) != len(svc.Status.LoadBalancer.Ingress) {
		status["loadBalancer"] = map[string]any{"ingress": left}
	}
	if _, err = s.patch(ctx, svc, status); err != nil {
		return fmt.Errorf("take our addresses from service %s: %w", service, err)
	}
	return nil
}

// patch changes svc's status if svc is what it was. Whose error it is the caller says.
func (s *store) patch(ctx context.Context, svc *corev1.Service, status map[string]any) (*corev1.Service, error) {
	if err := s.may(ctx); err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": svc.UID, "resourceVersion": svc.ResourceVersion},
		"status":   status,
	})
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	after, err := s.set.CoreV1().Services(svc.Namespace).Patch(ctx, svc.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		err = ipam.ErrConflict
	}
	return after, err
}
