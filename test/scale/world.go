// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/envtest/apiserver"
	"github.com/memkeep/memkeep/test/process"
)

const (
	// operatorNS is the operator's own namespace.
	operatorNS = "memkeep-system"
	// podsPerNode is how many pods a played node takes.
	podsPerNode = 110
	// fleetsPerNamespace is how many fleets share a namespace.
	fleetsPerNamespace = 10
	// members is how many pods a fleet has.
	members = 3
	// patience is how long the operator and the cluster have for one step.
	patience = 30 * time.Minute
)

// world is a control plane with played nodes, and the operator beside it.
type world struct {
	options
	dir     string
	server  *apiserver.Server
	kube    client.WithWatch
	manager *process.Process
	helpers []*process.Process
	metrics string
	token   string
	fleets  int
	cleanup []func()
}

// newWorld starts everything, and the operator last.
func newWorld(ctx context.Context, o options) (_ *world, err error) {
	w := &world{options: o}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = os.MkdirTemp("", "memkeep-scale-"); err != nil {
		return nil, err
	}
	w.cleanup = append(w.cleanup, func() { _ = os.RemoveAll(w.dir) })
	w.server, err = apiserver.Start(o.root, "kube-controller-manager", "kube-scheduler", "kwok", "kwok-stages.yaml")
	if err != nil {
		return nil, err
	}
	w.cleanup = append(w.cleanup, func() { _ = w.server.Stop() })
	w.server.Client.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), memkeepv1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	if w.kube, err = client.NewWithWatch(w.server.Client, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(w.dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, w.server.KubeConfig, 0o600); err != nil {
		return nil, err
	}
	if err := w.prepare(ctx); err != nil {
		return nil, err
	}
	for name, args := range map[string][]string{
		"kube-controller-manager": {
			"--leader-elect=false", "--cert-dir=" + w.dir, "--bind-address=127.0.0.1", "--secure-port=0",
			"--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-statefulset-syncs=20",
			"--concurrent-endpoint-syncs=10", "--concurrent-service-endpoint-syncs=10",
			"--controllers=statefulset-controller,garbage-collector-controller,disruption-controller," +
				"endpointslice-controller,namespace-controller",
		},
		"kube-scheduler": {"--leader-elect=false", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000"},
		"kwok": {
			"--manage-all-nodes=true", "--node-lease-duration-seconds=200", "--server-address=",
			"--config=" + w.server.Program("kwok-stages.yaml"),
		},
	} {
		cmd := exec.CommandContext(ctx, w.server.Program(name), append(args, "--kubeconfig="+kubeconfig)...)
		p, err := process.Start(cmd)
		if err != nil {
			return nil, err
		}
		w.helpers = append(w.helpers, p)
	}
	return w, w.startManager(ctx, kubeconfig)
}

// close ends everything, the operator first.
func (w *world) close() {
	for _, p := range append([]*process.Process{w.manager}, w.helpers...) {
		if p != nil {
			p.Kill()
		}
	}
	for i := len(w.cleanup) - 1; i >= 0; i-- {
		w.cleanup[i]()
	}
}

// prepare makes the played nodes, the operator's namespace, and an account that
// may read the operator's metrics.
func (w *world) prepare(ctx context.Context) error {
	largest := w.sizes[len(w.sizes)-1]
	for i := range largest*members/podsPerNode + 2 {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("played-%03d", i)}}
		node.Labels = map[string]string{corev1.LabelHostname: node.Name}
		node.Annotations = map[string]string{"kwok.x-k8s.io/node": "fake"}
		node.Status.Capacity = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("1000"), corev1.ResourceMemory: resource.MustParse("1Ti"),
			corev1.ResourcePods: *resource.NewQuantity(podsPerNode, resource.DecimalSI),
		}
		node.Status.Allocatable = node.Status.Capacity
		if err := w.kube.Create(ctx, node); err != nil {
			return err
		}
		// Admission marks a new node as not ready, and the controller that would take that back does not run here.
		node.Spec.Taints = nil
		if err := w.kube.Update(ctx, node); err != nil {
			return err
		}
	}
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNS}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNS, Name: "reader"}},
		&rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: "reader"},
			Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
		},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "reader"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: operatorNS, Name: "reader"}},
		},
	}
	for _, obj := range objects {
		if err := w.kube.Create(ctx, obj); err != nil {
			return err
		}
	}
	kube, err := kubernetes.NewForConfig(w.server.Client)
	if err != nil {
		return err
	}
	request, err := kube.CoreV1().ServiceAccounts(operatorNS).CreateToken(ctx, "reader", &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(4 * 3600))},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	w.token = request.Status.Token
	return nil
}

// startManager starts the operator as its Deployment does, but for the lease.
func (w *world) startManager(ctx context.Context, kubeconfig string) error {
	var err error
	if w.metrics, err = process.FreeAddress(); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, w.options.manager, "--metrics-bind-address="+w.metrics,
		"--health-probe-bind-address=0", "--operator-namespace="+operatorNS, "--zap-log-level=error")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "POD_NAMESPACE="+operatorNS,
		"CACHE_IMAGE=memkeep.io/cache-server:scale")
	if w.manager, err = process.Start(cmd); err != nil {
		return err
	}
	return w.wait(ctx, "the operator's metrics", time.Minute, func(ctx context.Context) (string, error) {
		return w.silent(ctx), nil
	})
}

// silent says why the operator's metrics cannot be read yet; empty once they can.
func (w *world) silent(ctx context.Context) string {
	if _, err := w.requests(ctx); err != nil {
		return err.Error()
	}
	return ""
}

// ended is closed when one of the helpers has ended.
func (w *world) ended() <-chan struct{} {
	for _, p := range w.helpers {
		select {
		case <-p.Ended():
			return p.Ended()
		default:
		}
	}
	return nil
}

// obituary says which of the helpers has ended, and what it said.
func (w *world) obituary() error {
	for _, p := range w.helpers {
		select {
		case <-p.Ended():
			said := p.Stderr()
			return fmt.Errorf("one of the control plane's programs has ended:\n%s", said[max(0, len(said)-2000):])
		default:
		}
	}
	return nil
}

// wait tries until nothing is missing, and fails at once where the operator has ended.
func (w *world) wait(
	ctx context.Context, what string, limit time.Duration, missing func(context.Context) (string, error),
) error {
	deadline := time.Now().Add(limit)
	said := time.Now()
	for {
		lacks, err := missing(ctx)
		if err != nil || lacks == "" {
			return err
		}
		select {
		case <-w.manager.Ended():
			return fmt.Errorf("the operator has ended:\n%s", w.manager.Stderr())
		case <-w.ended():
			return w.obituary()
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %s: %s\n%s", what, limit, lacks, w.manager.Stderr())
		}
		if time.Since(said) > 15*time.Second {
			said = time.Now()
			fmt.Fprintf(os.Stderr, "%s: %s\n", what, lacks)
		}
	}
}

// grow creates fleets until there are n, and waits until all are Ready.
func (w *world) grow(ctx context.Context, n int) error {
	for ; w.fleets < n; w.fleets++ {
		namespace := "scale-" + strconv.Itoa(w.fleets/fleetsPerNamespace)
		if w.fleets%fleetsPerNamespace == 0 {
			if err := w.kube.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
				return err
			}
		}
		if err := w.kube.Create(ctx, fleet(namespace, fmt.Sprintf("fleet-%d", w.fleets))); err != nil {
			return err
		}
	}
	return w.wait(ctx, fmt.Sprintf("%d fleets ready", n), patience, func(ctx context.Context) (string, error) {
		list := &memkeepv1alpha1.MemcacheList{}
		if err := w.kube.List(ctx, list); err != nil {
			return "", err
		}
		ready := 0
		for i := range list.Items {
			if isReady(&list.Items[i]) {
				ready++
			}
		}
		if ready < n {
			return fmt.Sprintf("%d are", ready), nil
		}
		return "", nil
	})
}

func fleet(namespace, name string) *memkeepv1alpha1.Memcache {
	return &memkeepv1alpha1.Memcache{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: memkeepv1alpha1.MemcacheSpec{
			Replicas: new(int32(members)), Memory: resource.MustParse("64Mi"),
			Access: memkeepv1alpha1.AccessSpec{
				Verification: memkeepv1alpha1.VerificationDisabled,
				Clients: []memkeepv1alpha1.Peer{{
					Name: "web",
					NamespaceSelector: memkeepv1alpha1.LabelSelector{MatchLabels: map[string]memkeepv1alpha1.LabelValue{
						memkeepv1alpha1.ClientLabel(namespace, name): "true",
					}},
				}},
			},
		},
	}
}

func isReady(m *memkeepv1alpha1.Memcache) bool {
	for _, c := range m.Status.Conditions {
		if c.Type == memkeepv1alpha1.ConditionReady {
			return c.Status == metav1.ConditionTrue && m.Status.ReadyReplicas == members
		}
	}
	return false
}
