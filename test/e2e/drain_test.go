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
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/test/harness"
)

// aNodesPodsAreReplaced evicts a fleet's pods as `kubectl drain` does. Where
// there are two nodes one of them is cordoned first.
func aNodesPodsAreReplaced(t *testing.T) {
	t.Helper()
	key := fleets[6]
	namespace(t, key.Namespace)
	pods := create(t, harness.NewFleet(key.Namespace, key.Name, 3))
	leave := pods[0].Spec.NodeName
	if len(players.nodes) > 1 {
		cordon(t, leave, true)
		t.Cleanup(func() { cordon(t, leave, false) })
	}
	watch := watchReady(t, key, pods)
	old := harness.UIDs(pods)
	refused := 0
	for i := range pods {
		if pods[i].Spec.NodeName != leave {
			delete(old, pods[i].Name)
			continue
		}
		_, err := cluster.Eventually(t.Context(), "eviction of "+pods[i].Name, harness.FleetLimit,
			func(ctx context.Context) error {
				err := evict(ctx, &pods[i])
				if apierrors.IsTooManyRequests(err) {
					refused++
				}
				return err
			})
		check(t, err)
	}
	if len(old) > 1 && refused == 0 {
		t.Errorf("%d pods were evicted one after the other and the budget never said no", len(old))
	}
	var fresh []corev1.Pod
	_, err := cluster.Eventually(t.Context(), "the evicted pods come back", harness.FleetLimit,
		func(ctx context.Context) (err error) {
			if fresh, err = cluster.FleetPods(ctx, key); err != nil {
				return err
			}
			n := 0
			for i := range fresh {
				if harness.Ready(&fresh[i]) && old[fresh[i].Name] != string(fresh[i].UID) {
					n++
				}
			}
			if n != len(pods) {
				return fmt.Errorf("%d of %d ready and new", n, len(pods))
			}
			return nil
		})
	check(t, err)
	if least := watch(); least < len(pods)-1 {
		t.Errorf("only %d of %d members were ready at one time", least, len(pods))
	}
	ready(t, key)
	shutOut(t, fresh)
	_, err = cluster.LetIn(t.Context(), players.friend, harness.CacheAddress(&fresh[0]), harness.LabelLimit)
	check(t, err)
}

func evict(ctx context.Context, pod *corev1.Pod) error {
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	return client.IgnoreNotFound(cluster.Kube.CoreV1().Pods(pod.Namespace).EvictV1(ctx, eviction))
}

func cordon(t *testing.T, node string, unschedulable bool) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, unschedulable)
	n := &corev1.Node{}
	n.Name = node
	if err := cluster.Patch(context.Background(), n, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		t.Error(err)
	}
}

// watchReady follows a fleet's pods. The returned function ends that and returns
// the smallest number of members that were ready at one time.
func watchReady(t *testing.T, key client.ObjectKey, pods []corev1.Pod) func() int {
	t.Helper()
	state := map[string]bool{}
	for i := range pods {
		state[pods[i].Name] = harness.Ready(&pods[i])
	}
	list := &corev1.PodList{}
	watcher, err := cluster.Watch(t.Context(), list, client.InNamespace(key.Namespace))
	check(t, err)
	least := len(pods)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range watcher.ResultChan() {
			pod, ok := event.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			state[pod.Name] = event.Type != "DELETED" && harness.Ready(pod)
			n := 0
			for _, is := range state {
				if is {
					n++
				}
			}
			least = min(least, n)
		}
	}()
	return func() int {
		// What happened last is on its way still.
		time.Sleep(500 * time.Millisecond)
		watcher.Stop()
		<-done
		return least
	}
}
