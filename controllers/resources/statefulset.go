// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

const revisionHistory = 3

// StatefulSet returns the fleet's pods: all started at once, and replaced only
// when the operator deletes one. policy and deny are the UIDs of the fleet's
// NetworkPolicies, which must exist before.
func StatefulSet(
	m *v1alpha1.Memcache, t Template, policy, deny types.UID,
) *applyappsv1.StatefulSetApplyConfiguration {
	return applyappsv1.StatefulSet(m.Name, m.Namespace).
		WithLabels(Labels(m)).
		WithAnnotations(t.annotations()).
		WithOwnerReferences(Owner(m), PolicyOwner(m.Name, policy), PolicyOwner(DenyPolicyName(m), deny)).
		WithSpec(applyappsv1.StatefulSetSpec().
			WithReplicas(Replicas(m)).
			WithServiceName(m.Name).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(SelectorLabels(m))).
			WithPodManagementPolicy(appsv1.ParallelPodManagement).
			WithRevisionHistoryLimit(revisionHistory).
			WithUpdateStrategy(applyappsv1.StatefulSetUpdateStrategy().
				WithType(appsv1.OnDeleteStatefulSetStrategyType)).
			WithTemplate(t.Spec))
}
