// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
)

// FleetLimit is how long a fleet may take to become ready.
const FleetLimit = 2 * time.Minute

// NewFleet returns a small Memcache whose clients are the namespaces with its client label.
func NewFleet(namespace, name string, replicas int32) *memkeepv1alpha1.Memcache {
	return &memkeepv1alpha1.Memcache{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: memkeepv1alpha1.MemcacheSpec{
			Replicas: new(replicas),
			Memory:   resource.MustParse("64Mi"),
			CPU:      new(resource.MustParse("10m")),
			Access: memkeepv1alpha1.AccessSpec{Clients: []memkeepv1alpha1.Peer{{
				Name:              "labelled",
				NamespaceSelector: SelectLabels(ClientLabels(namespace, name)),
			}}},
		},
	}
}

// ClientLabels are the labels of a namespace whose pods may use a fleet.
func ClientLabels(namespace, name string) map[string]string {
	return map[string]string{memkeepv1alpha1.ClientLabel(namespace, name): "true"}
}

// SelectLabels returns a selector that picks objects by their labels.
func SelectLabels(labels map[string]string) memkeepv1alpha1.LabelSelector {
	values := map[string]memkeepv1alpha1.LabelValue{}
	for k, v := range labels {
		values[k] = memkeepv1alpha1.LabelValue(v)
	}
	return memkeepv1alpha1.LabelSelector{MatchLabels: values}
}

// FleetReady waits until a Memcache is Ready at its current generation.
func (c *Cluster) FleetReady(
	ctx context.Context, key client.ObjectKey,
) (*memkeepv1alpha1.Memcache, time.Duration, error) {
	mc := &memkeepv1alpha1.Memcache{}
	took, err := c.Eventually(ctx, "Memcache "+key.String()+" ready", FleetLimit, func(ctx context.Context) error {
		if err := c.Get(ctx, key, mc); err != nil {
			return err
		}
		return FleetState(mc)
	})
	return mc, took, err
}

// FleetState returns nil for a Memcache that is Ready at its current
// generation, else what its status says.
func FleetState(mc *memkeepv1alpha1.Memcache) error {
	if mc.Status.ObservedGeneration != mc.Generation {
		return fmt.Errorf("generation %d, observed %d%s",
			mc.Generation, mc.Status.ObservedGeneration, conditionText(mc, memkeepv1alpha1.ConditionReady))
	}
	if !meta.IsStatusConditionTrue(mc.Status.Conditions, memkeepv1alpha1.ConditionReady) {
		return fmt.Errorf("%d of %d ready%s",
			mc.Status.ReadyReplicas, mc.Status.Replicas, conditionText(mc, memkeepv1alpha1.ConditionReady))
	}
	return nil
}

func conditionText(mc *memkeepv1alpha1.Memcache, conditionType string) string {
	cond := meta.FindStatusCondition(mc.Status.Conditions, conditionType)
	if cond == nil {
		return ", no condition " + conditionType
	}
	return fmt.Sprintf(", %s=%s %s: %s", cond.Type, cond.Status, cond.Reason, cond.Message)
}

// Condition waits until a Memcache has a condition with a status and a reason;
// an empty reason stands for any.
func (c *Cluster) Condition(
	ctx context.Context, key client.ObjectKey, conditionType string, status metav1.ConditionStatus, reason string,
) (*metav1.Condition, error) {
	cond, _, err := c.ConditionWithin(ctx, key, conditionType, status, reason, podLimit)
	return cond, err
}

// ConditionWithin is Condition with another limit than a minute, and returns how
// long it took.
func (c *Cluster) ConditionWithin(
	ctx context.Context, key client.ObjectKey, conditionType string, status metav1.ConditionStatus, reason string,
	limit time.Duration,
) (*metav1.Condition, time.Duration, error) {
	var cond *metav1.Condition
	what := fmt.Sprintf("Memcache %s %s=%s %s", key, conditionType, status, reason)
	took, err := c.Eventually(ctx, what, limit, func(ctx context.Context) error {
		mc := &memkeepv1alpha1.Memcache{}
		if err := c.Get(ctx, key, mc); err != nil {
			return err
		}
		cond = meta.FindStatusCondition(mc.Status.Conditions, conditionType)
		if cond == nil || cond.Status != status || reason != "" && cond.Reason != reason {
			return fmt.Errorf("it has %s", conditionText(mc, conditionType))
		}
		return nil
	})
	return cond, took, err
}

// FleetPods returns a fleet's pods in the order of their ordinals.
func (c *Cluster) FleetPods(ctx context.Context, key client.ObjectKey) ([]corev1.Pod, error) {
	pods := &corev1.PodList{}
	err := c.List(ctx, pods, client.InNamespace(key.Namespace), client.MatchingLabels{
		memkeepv1alpha1.LabelName:      key.Name,
		memkeepv1alpha1.LabelComponent: memkeepv1alpha1.ComponentCache,
	})
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return pods.Items, err
}

// UIDs returns the UIDs of pods by their names.
func UIDs(pods []corev1.Pod) map[string]string {
	uids := map[string]string{}
	for i := range pods {
		uids[pods[i].Name] = string(pods[i].UID)
	}
	return uids
}

// CacheAddress is where a pod's cache listens.
func CacheAddress(pod *corev1.Pod) string { return address(pod, memkeepv1alpha1.PortCache) }

// MetricsAddress is where a pod's metrics are.
func MetricsAddress(pod *corev1.Pod) string { return address(pod, memkeepv1alpha1.PortMetrics) }

func address(pod *corev1.Pod, port int) string {
	return net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(port))
}

// labelPatch is a merge patch that sets labels; an empty value removes one.
func labelPatch(labels map[string]string) []byte {
	values := map[string]any{}
	for k, v := range labels {
		values[k] = v
		if v == "" {
			values[k] = nil
		}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": values}})
	if err != nil {
		// Strings always marshal.
		panic(err)
	}
	return patch
}
