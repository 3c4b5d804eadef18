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
}

// aWidenedPolicyIsTakenBack opens the fleet's own policy; the operator
// closes it again.
func aWidenedPolicyIsTakenBack(t *testing.T) {
	t.Helper()
	key := client.ObjectKey{Namespace: "e2e-widened", Name: "sessions"}
	namespace(t, key.Namespace)
	pods := create(t, harness.NewFleet(key.Namespace, key.Name, 1))
	policy := &networkingv1.NetworkPolicy{}
	check(t, cluster.Get(t.Context(), key, policy))
	want := policy.Spec.DeepCopy()
	policy.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	policy.Spec.PolicyTypes = policy.Spec.PolicyTypes[:1]
	check(t, cluster.Update(t.Context(), policy))
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
}
