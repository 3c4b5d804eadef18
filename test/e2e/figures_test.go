// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/test/harness"
)

// oneBecomesReady prints how long one Memcache takes. Figures are told, not judged.
func oneBecomesReady(t *testing.T) {
	t.Helper()
	const ns = "e2e-figures-one"
	namespace(t, ns)
	for i := range 3 {
		mc := harness.NewFleet(ns, fmt.Sprintf("one-%c", 'a'+i), 1)
		start := time.Now()
		pods := create(t, mc)
		t.Logf("FIGURE apply to Ready, one Memcache: %.2f s", time.Since(start).Seconds())
		tellStart(t, &pods[0])
	}
}

// twentyBecomeReady prints how long twenty Memcaches take that are applied at once.
func twentyBecomeReady(t *testing.T) {
	t.Helper()
	const ns = "e2e-figures-twenty"
	namespace(t, ns)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			mc := harness.NewFleet(ns, fmt.Sprintf("many-%c", 'a'+i), 1)
			if err := cluster.Create(t.Context(), mc); err != nil {
				t.Error(err)
				return
			}
			if _, _, err := cluster.FleetReady(t.Context(), client.ObjectKeyFromObject(mc)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	t.Logf("FIGURE apply to Ready, twenty Memcaches: %.2f s", time.Since(start).Seconds())
}

// tellStart prints how long a pod took, by its own conditions, whose times are
// whole seconds.
func tellStart(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	var became time.Time
	for _, cond := range pod.Status.Conditions {
		if cond.Type == corev1.PodReady {
			became = cond.LastTransitionTime.Time
		}
	}
	if pod.Status.StartTime == nil || len(pod.Status.ContainerStatuses) == 0 {
		t.Errorf("%s is ready and has no start time", pod.Name)
		return
	}
	running := pod.Status.ContainerStatuses[0].State.Running
	if running == nil {
		t.Errorf("%s is ready and its container does not run", pod.Name)
		return
	}
	t.Logf("FIGURE pod seen by the kubelet to Ready: %.0f s; container started to Ready: %.0f s (whole seconds)",
		became.Sub(pod.Status.StartTime.Time).Seconds(), became.Sub(running.StartedAt.Time).Seconds())
}
