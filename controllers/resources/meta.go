// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"k8s.io/apimachinery/pkg/types"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// Labels fixed on every pod so that service meshes leave it alone: a mesh in
// front of the cache would be the peer that the policy sees.
const (
	labelIstioMode   = "istio.io/dataplane-mode"
	labelIstioInject = "sidecar.istio.io/inject"
)

// ReadyServiceName returns the name of the Service that picks any ready member.
func ReadyServiceName(m *v1alpha1.Memcache) string {
	return m.Name + "-ready"
}

// ControlCAName returns the name of the ConfigMap by which pods know the operator.
func ControlCAName(m *v1alpha1.Memcache) string {
	return m.Name + "-control-ca"
}

// Labels returns the labels of a fleet's children. Nothing of the user's is
// copied: a copied label could make a foreign Service or policy select us.
func Labels(m *v1alpha1.Memcache) map[string]string {
	return map[string]string{
		v1alpha1.LabelName:      m.Name,
		v1alpha1.LabelManagedBy: v1alpha1.ManagedBy,
	}
}

// SelectorLabels returns the labels by which children select a fleet's pods.
func SelectorLabels(m *v1alpha1.Memcache) map[string]string {
	return map[string]string{
		v1alpha1.LabelName:      m.Name,
		v1alpha1.LabelComponent: v1alpha1.ComponentCache,
	}
}

// PodLabels returns the labels of a fleet's pods.
func PodLabels(m *v1alpha1.Memcache) map[string]string {
	return map[string]string{
		v1alpha1.LabelName:      m.Name,
		v1alpha1.LabelComponent: v1alpha1.ComponentCache,
		v1alpha1.LabelManagedBy: v1alpha1.ManagedBy,
		labelIstioMode:          "none",
		labelIstioInject:        "false",
	}
}

// Owner returns the reference that makes m the controller of a child.
func Owner(m *v1alpha1.Memcache) *applymetav1.OwnerReferenceApplyConfiguration {
	return applymetav1.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).
		WithKind("Memcache").
		WithName(m.Name).
		WithUID(m.UID).
		WithController(true).
		WithBlockOwnerDeletion(true)
}

// DenyPolicyName returns the name of the NetworkPolicy that admits nobody.
func DenyPolicyName(m *v1alpha1.Memcache) string {
	return m.Name + "-deny"
}

// PolicyOwner returns the reference that makes one of the fleet's
// NetworkPolicies a further owner of a child. Policies are deleted in the
// foreground, so the garbage collector keeps one until what it owns is gone,
// the StatefulSet and in turn every pod, whether or not the operator is there.
func PolicyOwner(name string, uid types.UID) *applymetav1.OwnerReferenceApplyConfiguration {
	return applymetav1.OwnerReference().
		WithAPIVersion("networking.k8s.io/v1").
		WithKind("NetworkPolicy").
		WithName(name).
		WithUID(uid).
		WithBlockOwnerDeletion(true)
}

// Replicas returns how many pods the fleet should have.
func Replicas(m *v1alpha1.Memcache) int32 {
	if m.Spec.Replicas == nil {
		return 1
	}
	return *m.Spec.Replicas
}
