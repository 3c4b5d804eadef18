// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers"
	"github.com/memkeep/memkeep/controllers/resources"
)

// TestTheWorkItselfPasses runs the operator under its own account, with the role
// that it ships with, and Kubernetes' controllers in both ways that clusters run
// them: a fleet is born, scaled, changed and collected.
func TestTheWorkItselfPasses(t *testing.T) {
	for _, way := range []struct {
		name, namespace string
		kubeconfig      func() ([]byte, error)
		flags           []string
	}{
		{"each of Kubernetes' controllers under its own account", "work-accounts",
			func() ([]byte, error) { return server.KubeConfig, nil }, []string{"--use-service-account-credentials=true"}},
		{"all of Kubernetes' controllers under the manager's name", "work-manager", managersKubeconfig, nil},
	} {
		t.Run(way.name, func(t *testing.T) {
			kubeconfig, err := way.kubeconfig()
			if err != nil {
				t.Fatal(err)
			}
			stop, err := server.StartControllers(t.Context(), kubeconfig, []string{
				"statefulset-controller", "garbage-collector-controller", "disruption-controller",
			}, way.flags...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(stop)
			store(t, admin, namespace(way.namespace, "{}"))
			operate(t, way.namespace)
			live(t, way.namespace)
		})
	}
}

// managersKubeconfig is the administrator's, who speaks as the controller manager.
func managersKubeconfig() ([]byte, error) {
	config, err := clientcmd.Load(server.KubeConfig)
	if err != nil {
		return nil, err
	}
	for _, info := range config.AuthInfos {
		info.Impersonate = controllerManager
	}
	return clientcmd.Write(*config)
}

// operate runs the operator for a namespace until the test ends.
func operate(t *testing.T, namespace string) {
	t.Helper()
	config := rest.CopyConfig(server.Client)
	config.Impersonate = rest.ImpersonationConfig{UserName: operator, Groups: groupsOf(operator)}
	options := controllers.Options([]string{namespace})
	options.Metrics = metricsserver.Options{BindAddress: "0"}
	mgr, err := ctrl.NewManager(config, options)
	if err != nil {
		t.Fatal(err)
	}
	r := controllers.NewReconciler(mgr, resources.Settings{CacheImage: image}, []string{"memkeep-system"})
	r.SkipNameValidation = true
	if err := r.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("manager: %v", err)
		}
	})
}

// live takes a fleet through its life. There is no kubelet, so its pods never start.
func live(t *testing.T, namespace string) {
	t.Helper()
	key := client.ObjectKey{Namespace: namespace, Name: "sessions"}
	until := func(what string, f func() error) {
		t.Helper()
		if err := eventually(t.Context(), what, f); err != nil {
			t.Fatal(err)
		}
	}
	pods := func(n int) func() error {
		return func() error {
			list := &corev1.PodList{}
			if err := kube.List(t.Context(), list, client.InNamespace(namespace),
				client.MatchingLabels{v1alpha1.LabelName: key.Name}); err != nil {
				return err
			}
			m := &v1alpha1.Memcache{}
			_ = kube.Get(t.Context(), key, m)
			if len(list.Items) != n {
				return fmt.Errorf("%d pods, want %d; conditions %+v", len(list.Items), n, m.Status.Conditions)
			}
			return nil
		}
	}
	if err := kube.Create(t.Context(), parse(fleet(namespace, key.Name, "{}"))[0]); err != nil {
		t.Fatal(err)
	}
	until("the first pod", pods(1))
	for _, step := range []struct {
		spec string
		f    func() error
	}{
		{"{spec: {replicas: 3}}", pods(3)},
		{"{spec: {memory: 128Mi}}", func() error {
			set := &appsv1.StatefulSet{}
			if err := kube.Get(t.Context(), key, set); err != nil {
				return err
			}
			if args := set.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--memory-bytes=134217728") {
				return fmt.Errorf("the template has %v", args)
			}
			return nil
		}},
		{"{spec: {replicas: 1}}", pods(1)},
	} {
		if err := kube.Patch(t.Context(), named("Memcache", namespace, key.Name),
			client.RawPatch("application/merge-patch+json", jsonOf(step.spec))); err != nil {
			t.Fatal(err)
		}
		until("the fleet to follow "+step.spec, step.f)
	}
	gone := named("Memcache", namespace, key.Name)
	if err := kube.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	until("the pods to be collected", pods(0))
	for _, kind := range []string{"Memcache", "StatefulSet", "NetworkPolicy"} {
		until("the "+kind+" to be collected", func() error {
			if err := kube.Get(t.Context(), key, named(kind, "", "")); client.IgnoreNotFound(err) != nil || err == nil {
				return fmt.Errorf("still there: %w", err)
			}
			return nil
		})
	}
}
