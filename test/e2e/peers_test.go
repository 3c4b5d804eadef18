// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
)

// verifiedPeers dials a fleet whose caches serve the addresses of client pods
// alone, from where a policy lets through whatever it says.
func verifiedPeers(t *testing.T) {
	t.Helper()
	const ns = "e2e-verified"
	namespace(t, ns)
	sessions := harness.NewFleet(ns, "sessions", 2)
	sessions.Spec.Access.Peers = memkeepv1alpha1.PeersVerified
	pods := create(t, sessions)
	cache := harness.CacheAddress(&pods[0])
	t.Run("a client is served", func(t *testing.T) {
		took, err := cluster.LetIn(t.Context(), players.friend, cache, harness.LabelLimit)
		check(t, err)
		t.Logf("after %s", took)
	})
	t.Run("a client that connects at once is served within two seconds", func(t *testing.T) {
		connectsAtOnce(t, cache)
	})
	t.Run("strangers are shut out", func(t *testing.T) { shutOut(t, pods) })
	t.Run("the node is not served", func(t *testing.T) {
		served, out, err := cluster.ServesNode(t.Context(), pods[0].Spec.NodeName, &pods[0])
		check(t, err)
		t.Logf("the node saw %q", out)
		if served {
			t.Errorf("the node is served: %q", out)
		}
	})
	t.Run("a pod on the host's network is not served", func(t *testing.T) {
		host := harness.DialerPod{Namespace: "e2e-verified-host", Name: "host", Node: pods[0].Spec.NodeName}
		namespace(t, host.Namespace)
		check(t, makeNamespace(t.Context(), host.Namespace, map[string]string{
			"pod-security.kubernetes.io/enforce": "privileged",
		}))
		at, err := cluster.StartHostPod(t.Context(), host)
		check(t, err)
		served, got, err := cluster.Serves(t.Context(), at, cache)
		check(t, err)
		t.Logf("it saw %s", got)
		if served {
			t.Errorf("it is served: %s", got)
		}
	})
	t.Run("the API server's proxy executes nothing", func(t *testing.T) { proxyExecutesNothing(t, &pods[1]) })
}

// connectsAtOnce starts pods whose first act is to talk to the cache.
func connectsAtOnce(t *testing.T, cache string) {
	t.Helper()
	for n := range 3 {
		pod := cluster.PodOf(harness.DialerPod{
			Namespace: clientNS, Name: fmt.Sprintf("eager-%d", n), Args: []string{"talk", cache, "version"},
		})
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		check(t, cluster.Create(t.Context(), pod))
		t.Cleanup(func() { _ = cluster.Delete(t.Context(), pod, client.GracePeriodSeconds(0)) })
		took, err := cluster.Eventually(t.Context(), pod.Name+" served", time.Minute, func(ctx context.Context) error {
			if err := cluster.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
				return err
			}
			if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				return fmt.Errorf("it is %s", pod.Status.Phase)
			}
			return nil
		})
		check(t, err)
		if ended := pod.Status.ContainerStatuses[0].State.Terminated; ended == nil || ended.ExitCode != 0 {
			t.Errorf("%s was not served: %+v", pod.Name, ended)
		}
		t.Logf("%s was created and served within %s", pod.Name, took)
	}
}

// audit has strangers served, counted, and told of when they are cut off.
func audit(t *testing.T) {
	t.Helper()
	const ns = "e2e-audit"
	namespace(t, ns)
	sessions := harness.NewFleet(ns, "sessions", 1)
	sessions.Spec.Access.Mode = memkeepv1alpha1.AccessAudit
	pods := create(t, sessions)
	cache := harness.CacheAddress(&pods[0])
	stranger, _ := strangerTo(&pods[0])
	_, err := cluster.LetIn(t.Context(), stranger, cache, harness.LabelLimit)
	check(t, err)

	// It stays connected in the middle of a request.
	pod := cluster.PodOf(harness.DialerPod{
		Namespace: strangerNS, Name: "lingers", Args: []string{"talk", "--timeout", "2m", cache, "set k 0 0 10"},
	})
	_, err = cluster.StartPodAs(t.Context(), pod)
	check(t, err)
	t.Cleanup(func() { _ = cluster.Delete(t.Context(), pod, client.GracePeriodSeconds(0)) })
	key := client.ObjectKeyFromObject(sessions)
	counted := func(what string, mode memkeepv1alpha1.AccessMode) {
		t.Helper()
		took, err := cluster.Eventually(t.Context(), what, time.Minute, func(ctx context.Context) error {
			m := &memkeepv1alpha1.Memcache{}
			if err := cluster.Get(ctx, key, m); err != nil {
				return err
			}
			if a := m.Status.Access; a == nil || a.Mode != mode || a.WouldBeCutOff == nil || *a.WouldBeCutOff < 1 {
				return fmt.Errorf("status.access is %+v", a)
			}
			return nil
		})
		check(t, err)
		t.Logf("%s after %s", what, took)
	}
	counted("a stranger is counted", memkeepv1alpha1.AccessAudit)

	edit(t, key, sessions, func() { sessions.Spec.Access.Mode = memkeepv1alpha1.AccessEnforce })
	counted("who is cut off is counted", memkeepv1alpha1.AccessEnforce)
	_, err = cluster.Eventually(t.Context(), "an event", time.Minute, func(ctx context.Context) error {
		list := &eventsv1.EventList{}
		if err := cluster.List(ctx, list, client.InNamespace(ns)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == memkeepv1alpha1.ReasonClientsCutOff && e.Type == corev1.EventTypeWarning {
				t.Log(e.Note)
				return nil
			}
		}
		return fmt.Errorf("none of %d events tells of it", len(list.Items))
	})
	check(t, err)
	shutOut(t, pods)
}
