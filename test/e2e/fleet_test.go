// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/dialer/dialing"
	"github.com/memkeep/memkeep/test/harness"
)

// aDeletedPodComesBack deletes a pod while a stranger dials its name: the
// new pod is guarded from its first moment.
func aDeletedPodComesBack(t *testing.T) {
	t.Helper()
	key := fleets[5]
	namespace(t, key.Namespace)
	pods := create(t, harness.NewFleet(key.Namespace, key.Name, 1))
	old := &pods[0]
	stranger, decoy := strangerTo(old)
	_, err := cluster.ShutOut(t.Context(), stranger, decoy, harness.CacheAddress(old))
	check(t, err)
	name := fmt.Sprintf("%s.%s.%s.svc:%d", old.Name, key.Name, key.Namespace, memkeepv1alpha1.PortCache)
	hammering := cluster.Hammer(t.Context(), stranger, name, time.Minute)

	check(t, cluster.Delete(t.Context(), old.DeepCopy()))
	fresh := &corev1.Pod{}
	took, err := cluster.Eventually(t.Context(), "a new pod", time.Minute, func(ctx context.Context) error {
		if err := cluster.Get(ctx, client.ObjectKeyFromObject(old), fresh); err != nil {
			return err
		}
		if fresh.UID == old.UID || !harness.Ready(fresh) {
			return fmt.Errorf("not there yet")
		}
		return nil
	})
	check(t, err)
	t.Logf("back after %.1f s", took.Seconds())
	_, err = cluster.LetIn(t.Context(), players.friend, name, harness.LabelLimit)
	check(t, err)
	time.Sleep(time.Second)
	tally, err := hammering.Stop()
	check(t, err)
	neverConnected(t, tally)
	ready(t, key)
}

// neverConnected checks a hammering stranger's tally.
func neverConnected(t *testing.T, tally dialing.Tally) {
	t.Helper()
	t.Logf("%s: %d dials: %v", tally.Address, tally.Dials, tally.Counts)
	if n := tally.Counts[dialing.Connected]; n > 0 {
		t.Errorf("a stranger connected to %s %d times of %d: %+v", tally.Address, n, tally.Dials, tally.Changes)
	}
	if tally.Dials < 20 {
		t.Errorf("%d dials of %s prove nothing", tally.Dials, tally.Address)
	}
}

func scale(t *testing.T) {
	t.Helper()
	key := client.ObjectKey{Namespace: "e2e-scale", Name: "sessions"}
	namespace(t, key.Namespace)
	mc := harness.NewFleet(key.Namespace, key.Name, 1)
	create(t, mc)
	for _, n := range []int32{3, 1, 0, 1} {
		scale := &autoscalingv1.Scale{}
		check(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			if err := cluster.SubResource("scale").Get(t.Context(), mc, scale); err != nil {
				return err
			}
			if scale.Status.Selector == "" {
				t.Error("the scale subresource has no selector: an autoscaler would find no pods")
			}
			scale.Spec.Replicas = n
			return cluster.SubResource("scale").Update(t.Context(), mc, client.WithSubResourceBody(scale))
		}))
		got := &memkeepv1alpha1.Memcache{}
		_, err := cluster.Eventually(t.Context(), fmt.Sprintf("%s scaled to %d", key, n), harness.FleetLimit,
			func(ctx context.Context) error {
				if err := cluster.Get(ctx, key, got); err != nil {
					return err
				}
				if got.Status.Replicas != n || got.Status.ReadyReplicas != n {
					return fmt.Errorf("%d replicas, %d ready", got.Status.Replicas, got.Status.ReadyReplicas)
				}
				return harness.FleetState(got)
			})
		check(t, err)
		pods, err := cluster.FleetPods(t.Context(), key)
		check(t, err)
		if len(pods) != int(n) {
			t.Errorf("ready at %d replicas with %d pods", n, len(pods))
		}
	}
}

// autoscaler lets the cluster's own autoscaler raise a fleet. There are no
// CPU numbers on the development cluster, so its lower bound does it.
func autoscaler(t *testing.T) {
	t.Helper()
	key := client.ObjectKey{Namespace: "e2e-autoscaler", Name: "sessions"}
	namespace(t, key.Namespace)
	create(t, harness.NewFleet(key.Namespace, key.Name, 1))
	hpa := &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{
			APIVersion: memkeepv1alpha1.GroupVersion.String(), Kind: "Memcache", Name: key.Name,
		},
		MinReplicas: new(int32(3)), MaxReplicas: 4,
	}}
	hpa.Namespace, hpa.Name = key.Namespace, key.Name
	check(t, cluster.Create(t.Context(), hpa))
	_, err := cluster.Eventually(t.Context(), "the autoscaler raises the fleet", time.Minute,
		func(ctx context.Context) error {
			mc := &memkeepv1alpha1.Memcache{}
			if err := cluster.Get(ctx, key, mc); err != nil {
				return err
			}
			if *mc.Spec.Replicas != 3 {
				return fmt.Errorf("%d replicas; conditions %+v", *mc.Spec.Replicas, hpa.Status.Conditions)
			}
			return cluster.Get(ctx, key, hpa)
		})
	check(t, err)
	if pods := ready(t, key); len(pods) != 3 {
		t.Errorf("%d pods", len(pods))
	}
	_, err = cluster.Eventually(t.Context(), "the autoscaler reads the fleet's size", time.Minute,
		func(ctx context.Context) error {
			if err := cluster.Get(ctx, key, hpa); err != nil {
				return err
			}
			if hpa.Status.CurrentReplicas != 3 {
				return fmt.Errorf("it reads %d", hpa.Status.CurrentReplicas)
			}
			return nil
		})
	check(t, err)
	// An operator that wrote spec.replicas would take it back by now.
	for range 6 {
		time.Sleep(5 * time.Second)
		mc := &memkeepv1alpha1.Memcache{}
		check(t, cluster.Get(t.Context(), key, mc))
		if *mc.Spec.Replicas != 3 || mc.Status.Replicas != 3 {
			t.Fatalf("somebody fights the autoscaler: %d replicas wanted, %d there", *mc.Spec.Replicas, mc.Status.Replicas)
		}
	}
}

func quotaIsTold(t *testing.T) {
	t.Helper()
	key := client.ObjectKey{Namespace: "e2e-quota", Name: "sessions"}
	namespace(t, key.Namespace)
	quota := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")},
	}}
	quota.Namespace, quota.Name = key.Namespace, "no-pods"
	check(t, cluster.Create(t.Context(), quota))
	_, err := cluster.Eventually(t.Context(), "the quota counted", time.Minute, func(ctx context.Context) error {
		if err := cluster.Get(ctx, client.ObjectKeyFromObject(quota), quota); err != nil {
			return err
		}
		if len(quota.Status.Hard) == 0 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	check(t, err)
	check(t, cluster.Create(t.Context(), harness.NewFleet(key.Namespace, key.Name, 1)))
	cond, err := cluster.Condition(t.Context(), key,
		memkeepv1alpha1.ConditionReady, metav1.ConditionFalse, memkeepv1alpha1.ReasonForbidden)
	check(t, err)
	t.Logf("status says: %s", cond.Message)
	check(t, cluster.Delete(t.Context(), quota))
	ready(t, key)
}

func aNameClashStopsEverything(t *testing.T) {
	t.Helper()
	key := fleets[8]
	namespace(t, key.Namespace)
	planted := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
	}}
	planted.Namespace, planted.Name = key.Namespace, key.Name
	check(t, cluster.Create(t.Context(), planted))
	check(t, cluster.Create(t.Context(), harness.NewFleet(key.Namespace, key.Name, 1)))
	cond, err := cluster.Condition(t.Context(), key,
		memkeepv1alpha1.ConditionStalled, metav1.ConditionTrue, memkeepv1alpha1.ReasonNameConflict)
	check(t, err)
	t.Logf("status says: %s", cond.Message)
	time.Sleep(3 * time.Second)
	all := &corev1.PodList{}
	check(t, cluster.List(t.Context(), all, client.InNamespace(key.Namespace)))
	if len(all.Items) > 0 {
		t.Errorf("%d pods were started behind a foreign policy", len(all.Items))
	}
	now := &networkingv1.NetworkPolicy{}
	check(t, cluster.Get(t.Context(), key, now))
	if now.ResourceVersion != planted.ResourceVersion || !equality.Semantic.DeepEqual(now.Spec, planted.Spec) {
		t.Errorf("the planted policy was changed: %+v", now)
	}
	check(t, cluster.Delete(t.Context(), planted))
	pods := ready(t, key)
	shutOut(t, pods)
	mc := &memkeepv1alpha1.Memcache{}
	check(t, cluster.Get(t.Context(), key, mc))
	if meta.IsStatusConditionTrue(mc.Status.Conditions, memkeepv1alpha1.ConditionStalled) {
		t.Errorf("still stalled after the planted policy is gone")
	}
}
