package rollout

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Roles of agents, in the order of reports. Each has a DaemonSet and an annotation of its Nodes.
var roles = []string{"lb", "backend"}

// Connect gives a way to the API server that a kubeconfig names, or else kubectl's, or in a pod
// the cluster's.
func Connect(kubeconfig string) (kubernetes.Interface, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w; name a kubeconfig by --kubeconfig", err)
	}
	cfg.UserAgent = "penstock-check"
	return kubernetes.NewForConfig(cfg)
}

// Read looks at the agents of a namespace.
func Read(ctx context.Context, client kubernetes.Interface, namespace string) (Report, error) {
	sets := map[string]*appsv1.DaemonSet{}
	for _, role := range roles {
		set, err := client.AppsV1().DaemonSets(namespace).Get(ctx, "penstock-"+role, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return Report{}, fmt.Errorf("read DaemonSet penstock-%s: %w", role, err)
		}
		sets[role] = set
	}
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=penstock"})
	if err != nil {
		return Report{}, fmt.Errorf("list the agents' pods: %w", err)
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return Report{}, fmt.Errorf("list Nodes: %w", err)
	}
	byName := map[string]*corev1.Node{}
	for i := range nodes.Items {
		byName[nodes.Items[i].Name] = &nodes.Items[i]
	}
	return judge(sets, pods.Items, byName), nil
}
