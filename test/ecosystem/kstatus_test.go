// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ecosystem asks other projects' own code what they make of Memkeep's
// objects: kstatus, by which Helm 4 and Flux wait, and the Prometheus
// operator's types. It is a module of its own, so that theirs stay out of the
// product's.
package ecosystem

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers"
	"github.com/memkeep/memkeep/controllers/resources"
	"github.com/memkeep/memkeep/test/envtest/apiserver"
)

const (
	root = "../.."
	// space is the namespace of the fleets, soon bounds what has to happen.
	space = "caches"
	soon  = 90 * time.Second
	// held is a finalizer that keeps an object that is being deleted.
	held = "test.memkeep.io/held"
)

var (
	config *rest.Config
	kube   client.Client
)

func TestMain(m *testing.M) {
	code, err := run(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ecosystem:", err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, m *testing.M) (int, error) {
	ctrl.SetLogger(logr.Discard())
	server, err := apiserver.Start(root, "kube-controller-manager")
	if err != nil {
		return 0, err
	}
	defer func() { _ = server.Stop() }()
	config = server.Client
	if kube, err = client.New(config, client.Options{Scheme: controllers.Scheme()}); err != nil {
		return 0, err
	}
	if err := kube.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: space}}); err != nil {
		return 0, err
	}
	stop, err := server.StartControllers(ctx, server.KubeConfig, []string{"statefulset-controller"})
	if err != nil {
		return 0, err
	}
	defer stop()
	return m.Run(), nil
}

// operate starts the operator; it ends by the function that is returned.
func operate(t *testing.T) func() {
	t.Helper()
	options := controllers.Options([]string{space})
	options.Metrics = metricsserver.Options{BindAddress: "0"}
	mgr, err := ctrl.NewManager(config, options)
	if err != nil {
		t.Fatal(err)
	}
	r := controllers.NewReconciler(mgr, resources.Settings{CacheImage: "memkeep.io/cache-server:v0"}, nil)
	r.SkipNameValidation = true
	if err := r.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("manager: %v", err)
		}
	}
}

// fleet creates a Memcache.
func fleet(t *testing.T, name string, replicas int32) {
	t.Helper()
	m := &v1alpha1.Memcache{
		ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name},
		Spec:       v1alpha1.MemcacheSpec{Replicas: new(replicas), Memory: resource.MustParse("64Mi")},
	}
	if err := kube.Create(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// judged is what kstatus says of a Memcache as the API server has it.
func judged(t *testing.T, name string) (status.Status, string) {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Memcache"))
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: space, Name: name}, u); err != nil {
		t.Fatal(err)
	}
	result, err := status.Compute(u)
	if err != nil {
		t.Fatal(err)
	}
	return result.Status, fmt.Sprintf("%s (%v)", result.Message, u.Object["status"])
}

// becomes waits until kstatus says want.
func becomes(t *testing.T, name string, want status.Status) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		got, why := judged(t, name)
		if got == want {
			return
		}
		if time.Since(begun) > soon {
			t.Fatalf("%s is %s, want %s: %s", name, got, want, why)
		}
	}
}

// stays asks that kstatus says want for a while.
func stays(t *testing.T, name string, want status.Status) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < 2*time.Second; time.Sleep(50 * time.Millisecond) {
		if got, why := judged(t, name); got != want {
			t.Fatalf("%s is %s, want %s: %s", name, got, want, why)
		}
	}
}

// makeReady plays the kubelet for a fleet's pods until there are as many.
func makeReady(t *testing.T, name string, replicas int) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < soon; time.Sleep(50 * time.Millisecond) {
		pods := &corev1.PodList{}
		err := kube.List(t.Context(), pods, client.InNamespace(space), client.MatchingLabels{v1alpha1.LabelName: name})
		if err != nil {
			t.Fatal(err)
		}
		for i := range pods.Items {
			p := &pods.Items[i]
			p.Status.Phase = corev1.PodRunning
			p.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
			}}
			_ = kube.Status().Update(t.Context(), p)
		}
		if len(pods.Items) == replicas {
			return
		}
	}
	t.Fatalf("%s has not %d pods", name, replicas)
}

// edit changes a Memcache as a user would.
func edit(t *testing.T, name string, change func(*v1alpha1.Memcache)) {
	t.Helper()
	m := &v1alpha1.Memcache{}
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: space, Name: name}, m); err != nil {
		t.Fatal(err)
	}
	before := m.DeepCopy()
	change(m)
	if err := kube.Patch(t.Context(), m, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// TestKstatusKnowsTheStatesOfAFleet has kstatus itself, of the version that
// Helm 4 waits with, judge what the operator writes.
func TestKstatusKnowsTheStatesOfAFleet(t *testing.T) {
	run := func(name string, f func(t *testing.T)) { t.Run(name, f) }
	run("a fresh object that no operator has seen is InProgress", func(t *testing.T) {
		fleet(t, "sessions", 1)
		fleet(t, "none", 0)
		stays(t, "sessions", status.InProgressStatus)
		stays(t, "none", status.InProgressStatus)
	})
	stop := operate(t)
	run("without ready pods it is InProgress", func(t *testing.T) {
		makeReady(t, "none", 0)
		becomes(t, "none", status.CurrentStatus)
		stays(t, "sessions", status.InProgressStatus)
	})
	run("with ready pods it is Current", func(t *testing.T) {
		makeReady(t, "sessions", 1)
		becomes(t, "sessions", status.CurrentStatus)
		stays(t, "sessions", status.CurrentStatus)
	})
	run("while it grows it is InProgress, and then Current", func(t *testing.T) {
		edit(t, "sessions", func(m *v1alpha1.Memcache) { m.Spec.Replicas = new(int32(2)) })
		stays(t, "sessions", status.InProgressStatus)
		makeReady(t, "sessions", 2)
		becomes(t, "sessions", status.CurrentStatus)
	})
	run("stalled by a planted policy it is Failed, and Current when that is gone", func(t *testing.T) {
		planted := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: "clash"}}
		if err := kube.Create(t.Context(), planted); err != nil {
			t.Fatal(err)
		}
		fleet(t, "clash", 0)
		becomes(t, "clash", status.FailedStatus)
		if err := kube.Delete(t.Context(), planted); err != nil {
			t.Fatal(err)
		}
		becomes(t, "clash", status.CurrentStatus)
	})
	stop()
	run("with a generation that nobody has seen it is InProgress, Ready as it was", func(t *testing.T) {
		edit(t, "sessions", func(m *v1alpha1.Memcache) { m.Spec.Memory = resource.MustParse("128Mi") })
		stays(t, "sessions", status.InProgressStatus)
	})
	run("being deleted it is Terminating", func(t *testing.T) {
		edit(t, "none", func(m *v1alpha1.Memcache) { m.Finalizers = append(m.Finalizers, held) })
		m := &v1alpha1.Memcache{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: "none"}}
		if err := kube.Delete(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		stays(t, "none", status.TerminatingStatus)
	})
}
