package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"

	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/agent/ipam"
)

// pageSize is how many Services one answer to a LIST has.
const pageSize = 500

// store is the API server as an [ipam.Writer] needs it, for one term of one leader.
type store struct {
	set       kubernetes.Interface
	namespace string // of the fence
	class     func() (defaultClass bool)
	spaces    func(name string) *corev1.Namespace
	lease     func() error // why nothing may be written any more
	said      func(change) // is told of each write

	mu   sync.Mutex
	seen map[string]sight // by name
}

// sight is a Service that is ours as it was last read or written, trimmed, and the
// Namespace that counted.
type sight struct {
	svc   *corev1.Service
	space *corev1.Namespace
}

// change is a status that was written.
type change struct {
	service  *corev1.Service // after; trimmed
	before   *metav1.Condition
	decision ipam.Decision
	moved    bool // its addresses are others
}

// may says why nothing may be written. It is asked before each write, so that what a term
// has queued ends with it, at once; a write that has gone out already is kept from harm by
// its resourceVersion and the fence.
func (s *store) may(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.lease()
}

// Claims lists all Services. A LIST that names no resourceVersion is of the present, and
// all its pages are of one moment.
func (s *store) Claims(ctx context.Context) ([]ipam.Claim, error) {
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return s.set.CoreV1().Services(metav1.NamespaceAll).List(ctx, o)
	})
	pages.PageSize = pageSize
	var claims []ipam.Claim
	seen := map[string]sight{}
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		svc, ok := o.(*corev1.Service)
		if !ok {
			return nil
		}
		space := s.spaces(svc.Namespace)
		if c, _, ours := desired.Claim(svc, space, s.class()); ours {
			claims, seen[c.Service] = append(claims, c), sight{slim(svc), space}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = seen
	return claims, nil
}

// Claim gets one Service; without resourceVersion, that is of the present.
func (s *store) Claim(ctx context.Context, service string) (ipam.Claim, bool, error) {
	svc, err := s.get(ctx, service)
	if apierrors.IsNotFound(err) {
		s.remember(service, nil, nil)
		return ipam.Claim{}, false, nil
	}
	if err != nil {
		return ipam.Claim{}, false, err
	}
	space := s.spaces(svc.Namespace)
	c, _, ours := desired.Claim(svc, space, s.class())
	if !ours {
		svc = nil
	}
	s.remember(service, svc, space)
	return c, ours, nil
}

func (s *store) get(ctx context.Context, service string) (*corev1.Service, error) {
	namespace, name, ok := strings.Cut(service, "/")
	if !ok {
		return nil, errors.New("it has no namespace")
	}
	return s.set.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
}

// remember keeps what a status needs of svc, or with nil forgets it.
func (s *store) remember(service string, svc *corev1.Service, space *corev1.Namespace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if svc == nil {
		delete(s.seen, service)
		return
	}
	s.seen[service] = sight{slim(svc), space}
}

// knows reports whether service was ours when it was last read.
func (s *store) knows(service string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.seen[service]
	return known
}

// same reports whether svc in space is what was last read or written.
func (s *store) same(service string, svc *corev1.Service, space *corev1.Namespace) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.seen[service]
	return known && last.svc.ResourceVersion == svc.ResourceVersion && last.space == space
}

// recall gives service as of a version: from memory, else from the API server.
func (s *store) recall(ctx context.Context, service, version string) (*corev1.Service, error) {
	s.mu.Lock()
	svc := s.seen[service].svc
	s.mu.Unlock()
	if svc != nil && svc.ResourceVersion == version {
		return svc, nil
	}
	svc, err := s.get(ctx, service)
	switch {
	case apierrors.IsNotFound(err), err == nil && svc.ResourceVersion != version:
		return nil, ipam.ErrConflict
	case err != nil:
		return nil, err
	}
	return slim(svc), nil
}

// slim keeps of a Service what its status and its Events need.
func slim(svc *corev1.Service) *corev1.Service {
	out := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name, UID: svc.UID, ResourceVersion: svc.ResourceVersion},
		Status:     corev1.ServiceStatus{LoadBalancer: svc.Status.LoadBalancer},
	}
	if c := findCondition(svc.Status.Conditions); c != nil {
		out.Status.Conditions = []metav1.Condition{*c}
	}
	return out
}
