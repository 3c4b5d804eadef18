// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/test/dialer/dialing"
	"github.com/memkeep/memkeep/test/harness"
)

// policyLimit is how long a changed policy may take to be enforced.
const policyLimit = 20 * time.Second

// theChecksCanFail takes the deny away and sees the very check that the
// other tests rely on report it.
func theChecksCanFail(t *testing.T) {
	t.Helper()
	key := fleets[4]
	namespace(t, key.Namespace)
	pods := create(t, harness.NewFleet(key.Namespace, key.Name, 1))
	stranger, decoy := strangerTo(&pods[0])
	addr := harness.CacheAddress(&pods[0])
	_, err := cluster.ShutOut(t.Context(), stranger, decoy, addr)
	check(t, err)
	hammering := cluster.Hammer(t.Context(), stranger, addr, 2*time.Minute)

	everybody := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
	}}
	everybody.Namespace, everybody.Name = key.Namespace, "everybody"
	check(t, cluster.Create(t.Context(), everybody))
	_, err = cluster.Eventually(t.Context(), "the check notices an open policy", policyLimit,
		func(ctx context.Context) error {
			_, err := cluster.ShutOut(ctx, stranger, decoy, addr)
			if err == nil {
				return fmt.Errorf("it still says that the stranger is shut out")
			}
			if !isBroken(err) {
				return err
			}
			t.Logf("as it should, the check says: %v", err)
			return nil
		})
	check(t, err)

	check(t, cluster.Delete(t.Context(), everybody))
	_, err = cluster.KeptOut(t.Context(), stranger, decoy, addr, policyLimit)
	check(t, err)
	tally, err := hammering.Stop()
	check(t, err)
	if tally.Counts[dialing.Connected] == 0 {
		t.Errorf("a stranger that dials all the time missed the time of the open policy: %+v", tally)
	}
}

// aWidenedPolicyIsTakenBack opens the fleet's own policy; the operator
// closes it again.
func aWidenedPolicyIsTakenBack(t *testing.T) {
	t.Helper()
	key := client.ObjectKey{Namespace: "e2e-widened", Name: "sessions"}
	namespace(t, key.Namespace)
	pods := create(t, harness.NewFleet(key.Namespace, key.Name, 1))
	policy := &networkingv1.NetworkPolicy{}
	var want *networkingv1.NetworkPolicySpec
	edit(t, key, policy, func() {
		want = policy.Spec.DeepCopy()
		policy.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
		policy.Spec.PolicyTypes = policy.Spec.PolicyTypes[:1]
	})
	took, err := cluster.Eventually(t.Context(), "the policy restored", policyLimit, func(ctx context.Context) error {
		if err := cluster.Get(ctx, key, policy); err != nil {
			return err
		}
		if !equality.Semantic.DeepEqual(&policy.Spec, want) {
			return fmt.Errorf("its spec is %+v", policy.Spec)
		}
		return nil
	})
	check(t, err)
	t.Logf("restored after %.2f s", took.Seconds())
	stranger, decoy := strangerTo(&pods[0])
	_, err = cluster.KeptOut(t.Context(), stranger, decoy, harness.CacheAddress(&pods[0]), policyLimit)
	check(t, err)
	aDeletedPolicyComesBack(t, key, stranger, decoy, harness.CacheAddress(&pods[0]))
}

// aDeletedPolicyComesBack deletes the policy of a living fleet: until it is made
// anew the policy that admits nobody holds, and no stranger gets in.
func aDeletedPolicyComesBack(t *testing.T, key client.ObjectKey, stranger harness.Pod, decoy, addr string) {
	t.Helper()
	policy := &networkingv1.NetworkPolicy{}
	check(t, cluster.Get(t.Context(), key, policy))
	old := policy.UID
	hammering := cluster.Hammer(t.Context(), stranger, addr, 2*time.Minute)
	// Dials must be under way when the policy goes.
	time.Sleep(500 * time.Millisecond)
	check(t, cluster.Delete(t.Context(), policy))
	_, err := cluster.Eventually(t.Context(), "the policy made anew", policyLimit, func(ctx context.Context) error {
		if err := cluster.Get(ctx, key, policy); err != nil {
			return err
		}
		if policy.UID == old {
			return fmt.Errorf("the old one is still there")
		}
		return nil
	})
	check(t, err)
	_, err = cluster.KeptOut(t.Context(), stranger, decoy, addr, policyLimit)
	check(t, err)
	ready(t, key)
	tally, err := hammering.Stop()
	check(t, err)
	if tally.Counts[dialing.Connected] > 0 {
		t.Errorf("a stranger got in %d times while a deleted policy was made anew: %+v",
			tally.Counts[dialing.Connected], tally)
	}
	t.Logf("%d dials from a stranger while a deleted policy was made anew, none got in", tally.Dials)
}
