package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-lb/penstock/agent/ipam"
)

// Leases, in the agents' namespace.
const (
	LeaderLease = "penstock-leader" // of the election: who should write
	FenceLease  = "penstock-fence"  // of the one writer: who can
)

// Annotations of the fence, each a field of [ipam.Fence].
const (
	leaderAnnotation  = "penstock.dev/leader"
	epochAnnotation   = "penstock.dev/epoch"
	intentsAnnotation = "penstock.dev/intents" // JSON
)

// Fence reads the Lease that every leader has to write before it writes anything else. It
// is not the election's: that one is renewed all the time, so that no write of it could
// depend on who wrote it last.
func (s *store) Fence(ctx context.Context) (ipam.Fence, error) {
	lease, err := s.set.CoordinationV1().Leases(s.namespace).Get(ctx, FenceLease, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ipam.Fence{}, nil
	}
	if err != nil {
		return ipam.Fence{}, fmt.Errorf("read lease %s/%s: %w", s.namespace, FenceLease, err)
	}
	return fenceOf(lease)
}

// PutFence creates the Lease, or replaces the one of the version that f has.
func (s *store) PutFence(ctx context.Context, f ipam.Fence) (ipam.Fence, error) {
	if err := s.may(ctx); err != nil {
		return f, err
	}
	lease, err := leaseOf(s.namespace, f)
	if err != nil {
		return f, err
	}
	leases := s.set.CoordinationV1().Leases(s.namespace)
	if f.Version == "" {
		lease, err = leases.Create(ctx, lease, metav1.CreateOptions{})
	} else {
		lease, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err) && f.Version != "":
		return f, fmt.Errorf("write lease %s/%s: %w", s.namespace, FenceLease, ipam.ErrConflict)
	case err != nil:
		return f, fmt.Errorf("write lease %s/%s: %w", s.namespace, FenceLease, err)
	}
	return fenceOf(lease)
}

func leaseOf(namespace string, f ipam.Fence) (*coordinationv1.Lease, error) {
	intents, err := json.Marshal(f.Intents)
	if err != nil {
		return nil, fmt.Errorf("encode intents: %w", err)
	}
	notes := map[string]string{leaderAnnotation: f.Leader, epochAnnotation: strconv.FormatUint(f.Epoch, 10)}
	if len(f.Intents) > 0 {
		notes[intentsAnnotation] = string(intents)
	}
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: FenceLease, ResourceVersion: f.Version, Annotations: notes},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &f.Leader},
	}, nil
}

// fenceOf takes an edited Lease as it is read: an epoch that is none would let two leaders
// have the same one, and intents that can't be read name writes that may be under way.
func fenceOf(lease *coordinationv1.Lease) (f ipam.Fence, err error) {
	f = ipam.Fence{Leader: lease.Annotations[leaderAnnotation], Version: lease.ResourceVersion}
	wrong := func(annotation string, err error) (ipam.Fence, error) {
		return ipam.Fence{}, fmt.Errorf("lease %s/%s: annotation %s: %w; delete the Lease while no agent leads", lease.Namespace, lease.Name, annotation, err)
	}
	if text, set := lease.Annotations[epochAnnotation]; set {
		if f.Epoch, err = strconv.ParseUint(text, 10, 64); err != nil {
			return wrong(epochAnnotation, err)
		}
	}
	if text, set := lease.Annotations[intentsAnnotation]; set {
		if err := json.Unmarshal([]byte(text), &f.Intents); err != nil {
			return wrong(intentsAnnotation, err)
		}
	}
	return f, nil
}
