// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applypolicyv1 "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

const (
	portNameCache   = "memcache"
	portNameMetrics = "metrics"
	portNameControl = "control"
	// appProtocol keeps meshes and gateways from guessing HTTP.
	appProtocol = "tcp"
)

// RingService returns the headless Service with one stable name per member.
// Members that are not ready keep their place, so that a client's hash ring
// does not move because one pod restarts.
func RingService(m *v1alpha1.Memcache) *applycorev1.ServiceApplyConfiguration {
	return applycorev1.Service(m.Name, m.Namespace).
		WithLabels(Labels(m)).
		WithOwnerReferences(Owner(m)).
		WithSpec(serviceSpec(m).
			WithClusterIP(corev1.ClusterIPNone).
			WithPublishNotReadyAddresses(true))
}

// ReadyService returns the Service that picks any ready member.
func ReadyService(m *v1alpha1.Memcache) *applycorev1.ServiceApplyConfiguration {
	return applycorev1.Service(ReadyServiceName(m), m.Namespace).
		WithLabels(Labels(m)).
		WithOwnerReferences(Owner(m)).
		WithSpec(serviceSpec(m))
}

// serviceSpec names the type, so that a change to NodePort or LoadBalancer is
// taken back.
func serviceSpec(m *v1alpha1.Memcache) *applycorev1.ServiceSpecApplyConfiguration {
	return applycorev1.ServiceSpec().
		WithType(corev1.ServiceTypeClusterIP).
		WithSelector(SelectorLabels(m)).
		WithPorts(applycorev1.ServicePort().
			WithName(portNameCache).
			WithAppProtocol(appProtocol).
			WithProtocol(corev1.ProtocolTCP).
			WithPort(v1alpha1.PortCache).
			WithTargetPort(intstr.FromString(portNameCache)))
}

// ServiceAccount returns the identity of the fleet's pods. It has no rights
// and mounts no token.
func ServiceAccount(m *v1alpha1.Memcache) *applycorev1.ServiceAccountApplyConfiguration {
	return applycorev1.ServiceAccount(m.Name, m.Namespace).
		WithLabels(Labels(m)).
		WithOwnerReferences(Owner(m)).
		WithAutomountServiceAccountToken(false)
}

// ControlCA returns the ConfigMap with the certificates by which the fleet's
// pods know the operator.
func ControlCA(m *v1alpha1.Memcache, bundle string) *applycorev1.ConfigMapApplyConfiguration {
	return applycorev1.ConfigMap(ControlCAName(m), m.Namespace).
		WithLabels(Labels(m)).
		WithOwnerReferences(Owner(m)).
		WithData(map[string]string{controlCAFile: bundle})
}

// PodDisruptionBudget lets one member be away at a time. It counts what is
// unavailable rather than what is left, so that a fleet of one never blocks the
// drain of a node, and pods that are not ready may always be evicted.
func PodDisruptionBudget(m *v1alpha1.Memcache) *applypolicyv1.PodDisruptionBudgetApplyConfiguration {
	return applypolicyv1.PodDisruptionBudget(m.Name, m.Namespace).
		WithLabels(Labels(m)).
		WithOwnerReferences(Owner(m)).
		WithSpec(applypolicyv1.PodDisruptionBudgetSpec().
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(SelectorLabels(m))).
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow))
}
