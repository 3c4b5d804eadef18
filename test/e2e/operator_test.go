// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
	"github.com/memkeep/memkeep/test/lane"
)

// killOperator deletes the operator's pods without any grace.
func killOperator(t *testing.T) {
	t.Helper()
	pods, err := cluster.OperatorPods(t.Context(), operator)
	check(t, err)
	for i := range pods {
		check(t, client.IgnoreNotFound(cluster.Delete(t.Context(), &pods[i], client.GracePeriodSeconds(0))))
	}
	t.Logf("killed %d pods of the operator", len(pods))
}

// killedInTheMiddle kills the operator while it makes, changes and deletes fleets.
func killedInTheMiddle(t *testing.T) {
	t.Helper()
	const ns = "e2e-killed"
	namespace(t, ns)
	var all []*memkeepv1alpha1.Memcache
	for i := range 6 {
		mc := harness.NewFleet(ns, fmt.Sprintf("fleet-%c", 'a'+i), 1)
		check(t, cluster.Create(t.Context(), mc))
		all = append(all, mc)
	}
	killOperator(t)
	time.Sleep(2 * time.Second)
	for _, mc := range all[:4] {
		patch := []byte(`{"spec":{"replicas":2,"engine":{"maxConnections":64}}}`)
		check(t, cluster.Patch(t.Context(), mc, client.RawPatch("application/merge-patch+json", patch)))
	}
	check(t, cluster.OperatorAvailable(t.Context(), operator))
	time.Sleep(time.Second)
	killOperator(t)
	check(t, cluster.Delete(t.Context(), all[5]))
	check(t, cluster.OperatorAvailable(t.Context(), operator))
	for i, mc := range all[:5] {
		pods := ready(t, client.ObjectKeyFromObject(mc))
		if want := 1 + min(1, max(0, 4-i)); len(pods) != want {
			t.Errorf("%s has %d pods, want %d", mc.Name, len(pods), want)
		}
		for j := range pods {
			if i < 4 && !slices.Contains(pods[j].Spec.Containers[0].Args, "--max-connections=64") {
				t.Errorf("%s still runs %v", pods[j].Name, pods[j].Spec.Containers[0].Args)
			}
		}
		shutOut(t, pods[:1])
	}
	check(t, cluster.Gone(t.Context(), all[5], goneLimit))
	_, err := cluster.Eventually(t.Context(), "the deleted fleet's pods gone", goneLimit, func(ctx context.Context) error {
		pods, err := cluster.FleetPods(ctx, client.ObjectKeyFromObject(all[5]))
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d are there", len(pods))
		}
		return err
	})
	check(t, err)
}

// leavesPodsAlone restarts the operator, then gives it another cache image, and
// sees no pod touched until the annotation asks for it.
func leavesPodsAlone(t *testing.T) {
	t.Helper()
	key := fleets[7]
	namespace(t, key.Namespace)
	before := harness.UIDs(create(t, harness.NewFleet(key.Namespace, key.Name, 3)))
	same := func(after string) {
		t.Helper()
		pods, err := cluster.FleetPods(t.Context(), key)
		check(t, err)
		if now := harness.UIDs(pods); !maps.Equal(before, now) {
			t.Fatalf("%s the pods are others: %v, before %v", after, now, before)
		}
	}
	killOperator(t)
	check(t, cluster.OperatorAvailable(t.Context(), operator))
	works(t, key.Namespace, "after-restart")
	same("after a restart of the operator")

	fresh := otherCacheImage(t)
	setCacheImage(t, fresh)
	t.Cleanup(func() {
		if _, _, err := cluster.Install(context.Background()); err != nil {
			t.Error(err)
		}
	})
	cond, err := cluster.Condition(t.Context(), key, memkeepv1alpha1.ConditionUpdateAvailable, metav1.ConditionTrue, "")
	check(t, err)
	t.Logf("status says: %s", cond.Message)
	works(t, key.Namespace, "after-upgrade")
	same("after an upgrade of the operator")
	mc, _, err := cluster.FleetReady(t.Context(), key)
	check(t, err)

	pods, err := cluster.FleetPods(t.Context(), key)
	check(t, err)
	least := watchReady(t, key, pods)
	edit(t, key, mc, func() { mc.Annotations = map[string]string{memkeepv1alpha1.AnnotationUpdate: "now"} })
	_, err = cluster.Eventually(t.Context(), "every pod replaced", 2*harness.FleetLimit, func(ctx context.Context) error {
		pods, err := cluster.FleetPods(ctx, key)
		if err != nil {
			return err
		}
		for i := range pods {
			if !harness.Ready(&pods[i]) || pods[i].Spec.Containers[0].Image != fresh {
				return fmt.Errorf("%s runs %s", pods[i].Name, pods[i].Spec.Containers[0].Image)
			}
		}
		if len(pods) != len(before) {
			return fmt.Errorf("%d pods", len(pods))
		}
		return cluster.Get(ctx, key, mc)
	})
	check(t, err)
	if n := least(); n < len(before)-1 {
		t.Errorf("only %d of %d members were ready at one time: not one at a time", n, len(before))
	}
	ready(t, key)
	_, err = cluster.Condition(t.Context(), key, memkeepv1alpha1.ConditionUpdateAvailable, metav1.ConditionFalse, "")
	check(t, err)
}

// works makes a new fleet, which only an operator that leads and reconciles can
// do, and gives it time for all that is older.
func works(t *testing.T, ns, name string) {
	t.Helper()
	create(t, harness.NewFleet(ns, name, 1))
	time.Sleep(8 * time.Second)
}

// otherCacheImage gives the cache's image a second name on every node.
func otherCacheImage(t *testing.T) string {
	t.Helper()
	if cluster.CacheImage == "" {
		t.Fatal("MEMKEEP_CACHE_IMAGE is not set: run `make test-e2e`")
	}
	if cluster.ExecNode == "" {
		lane.Lacks(t, "a second image needs access to the nodes, which only the development cluster gives")
	}
	name := cluster.CacheImage + "-next"
	for _, node := range players.nodes {
		_, err := cluster.OnNode(t.Context(), node, "ctr", "--namespace", "k8s.io", "images", "tag", "--force",
			cluster.CacheImage, name)
		check(t, err)
	}
	return name
}

// setCacheImage gives the operator another cache image, as an upgrade does.
func setCacheImage(t *testing.T, image string) {
	t.Helper()
	d := &appsv1.Deployment{}
	check(t, cluster.Get(t.Context(), operator.Key, d))
	patch := client.MergeFrom(d.DeepCopy())
	env := d.Spec.Template.Spec.Containers[0].Env
	i := slices.IndexFunc(env, func(e corev1.EnvVar) bool { return e.Name == "CACHE_IMAGE" })
	if i < 0 {
		t.Fatalf("the operator has no CACHE_IMAGE among %v", env)
	}
	if strings.TrimSpace(env[i].Value) == image {
		t.Fatalf("the operator has the image %s already", image)
	}
	env[i].Value = image
	check(t, cluster.Patch(t.Context(), d, patch))
	check(t, cluster.OperatorAvailable(t.Context(), operator))
}
