// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
)

// goneLimit is how long a fleet may take to be gone after its deletion began.
const goneLimit = 90 * time.Second

// besieged is a fleet that strangers dial without a pause.
type besieged struct {
	key        client.ObjectKey
	pods       []corev1.Pod
	hammerings []*harness.Hammering
	deletions  <-chan deletions
}

// deletions are the resource versions at which a fleet's last pod and its
// policy were deleted.
type deletions struct {
	lastPod, policy uint64
	names           []string
}

// besiege makes a fleet of two, sees a stranger shut out, and has strangers dial
// both pods from then on.
func besiege(t *testing.T, ns string) besieged {
	t.Helper()
	namespace(t, ns)
	b := besieged{key: client.ObjectKey{Namespace: ns, Name: "sessions"}}
	b.pods = create(t, harness.NewFleet(ns, b.key.Name, 2))
	shutOut(t, b.pods)
	b.deletions = followDeletions(t, b.key, len(b.pods))
	for i := range b.pods {
		stranger, _ := strangerTo(&b.pods[i])
		b.hammerings = append(b.hammerings,
			cluster.Hammer(t.Context(), stranger, harness.CacheAddress(&b.pods[i]), goneLimit+30*time.Second))
	}
	// Dials must be under way when the deletion begins.
	time.Sleep(500 * time.Millisecond)
	return b
}

// followDeletions watches a fleet's pods and policy until all are deleted.
func followDeletions(t *testing.T, key client.ObjectKey, pods int) <-chan deletions {
	t.Helper()
	podEvents, err := cluster.Watch(t.Context(), &corev1.PodList{}, client.InNamespace(key.Namespace))
	check(t, err)
	policyEvents, err := cluster.Watch(t.Context(), &networkingv1.NetworkPolicyList{}, client.InNamespace(key.Namespace))
	check(t, err)
	out := make(chan deletions, 1)
	go func() {
		defer podEvents.Stop()
		defer policyEvents.Stop()
		var d deletions
		for len(d.names) < pods || d.policy == 0 {
			select {
			case e := <-podEvents.ResultChan():
				if pod, ok := e.Object.(*corev1.Pod); ok && e.Type == watch.Deleted {
					d.names = append(d.names, pod.Name)
					d.lastPod = max(d.lastPod, version(pod))
				}
			case e := <-policyEvents.ResultChan():
				if p, ok := e.Object.(*networkingv1.NetworkPolicy); ok && e.Type == watch.Deleted && p.Name == key.Name {
					d.policy = version(p)
				}
			case <-t.Context().Done():
				return
			}
		}
		out <- d
	}()
	return out
}

// version is an object's resource version as a number. Every object is in the
// same store, so that the numbers are in the order of the writes.
func version(obj client.Object) uint64 {
	n, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// over waits until the fleet is gone and checks what the strangers saw, and that
// the policy went after the last pod.
func (b *besieged) over(t *testing.T) {
	t.Helper()
	var d deletions
	select {
	case d = <-b.deletions:
	case <-time.After(goneLimit):
		pods, err := cluster.FleetPods(t.Context(), b.key)
		policy := &networkingv1.NetworkPolicy{}
		policyErr := cluster.Get(t.Context(), b.key, policy)
		t.Errorf("not gone within %s: %d pods (%v), policy finalizers %v (%v)",
			goneLimit, len(pods), err, policy.Finalizers, policyErr)
	}
	time.Sleep(time.Second)
	for _, h := range b.hammerings {
		tally, err := h.Stop()
		check(t, err)
		neverConnected(t, tally)
	}
	if d.policy <= d.lastPod {
		t.Errorf("the policy was deleted at %d, before the last pod at %d", d.policy, d.lastPod)
	}
	t.Logf("pods %v gone at resource version %d, the policy at %d", d.names, d.lastPod, d.policy)
}

func thePolicyOutlivesTheLastPod(t *testing.T) {
	t.Helper()
	b := besiege(t, "e2e-deletion")
	mc := &memkeepv1alpha1.Memcache{}
	mc.Namespace, mc.Name = b.key.Namespace, b.key.Name
	check(t, cluster.Delete(t.Context(), mc))
	b.over(t)
	check(t, cluster.Gone(t.Context(), mc, goneLimit))
}

// thePolicyOutlivesADeletedNamespace deletes everything at once.
func thePolicyOutlivesADeletedNamespace(t *testing.T) {
	t.Helper()
	b := besiege(t, "e2e-namespace")
	ns := &corev1.Namespace{}
	ns.Name = b.key.Namespace
	check(t, cluster.Delete(t.Context(), ns))
	b.over(t)
}

// operatorThenCRD uninstalls in the wrong order: nobody is left who could look
// after the fleet when its object goes.
func operatorThenCRD(t *testing.T) {
	t.Helper()
	b := besiege(t, "e2e-uninstall")
	t.Cleanup(func() { reinstall(t) })
	for _, obj := range operator.Objects {
		if obj.GetKind() == "Deployment" {
			check(t, cluster.Delete(t.Context(), obj.DeepCopy(), client.PropagationPolicy("Foreground")))
			check(t, cluster.Gone(t.Context(), obj.DeepCopy(), goneLimit))
		}
	}
	for _, obj := range operator.Objects {
		if obj.GetKind() == "CustomResourceDefinition" {
			check(t, cluster.Delete(t.Context(), obj.DeepCopy()))
		}
	}
	b.over(t)
}

// everythingAtOnce deletes the whole installation while a fleet runs.
func everythingAtOnce(t *testing.T) {
	t.Helper()
	b := besiege(t, "e2e-uninstall-all")
	t.Cleanup(func() { reinstall(t) })
	for _, obj := range operator.Objects {
		check(t, client.IgnoreNotFound(cluster.Delete(t.Context(), obj.DeepCopy())))
	}
	b.over(t)
}

// reinstall brings the operator back for whatever comes next, once what is
// being deleted is gone.
func reinstall(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	for _, obj := range operator.Objects {
		now := obj.DeepCopy()
		if err := cluster.Get(ctx, client.ObjectKeyFromObject(obj), now); err != nil || now.GetDeletionTimestamp() == nil {
			continue
		}
		if err := cluster.Gone(ctx, now, goneLimit); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := cluster.Install(ctx); err != nil {
		t.Error(err)
	}
}
