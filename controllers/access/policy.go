// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package access decides who reaches a fleet: its NetworkPolicy, and what is to
// be said about it. Every function is pure.
package access

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applynetworkingv1 "k8s.io/client-go/applyconfigurations/networking/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/resources"
)

// DenyPolicy returns the NetworkPolicy that admits nobody to the fleet's pods
// and lets nothing out. Policies add up, so it takes nothing from Policy. It is
// there for the moment when somebody deletes that one: until it is made anew
// nobody gets in, instead of everybody.
func DenyPolicy(m *v1alpha1.Memcache) *applynetworkingv1.NetworkPolicyApplyConfiguration {
	return policy(m, resources.DenyPolicyName(m))
}

// Policy returns the fleet's NetworkPolicy: nothing leaves the pods, and only
// the peers that the object names get in, each audience at its own port. An
// audience without peers gets no rule at all: to Kubernetes, a rule without
// peers admits everyone. deny is the UID of the DenyPolicy, which must exist
// before.
//
// In mode Audit the cache port alone is open to everyone: nothing else is
// loosened.
//
// operator is the namespace of the operator's pods, which reach the control
// port and nothing else; where it is empty, nobody does.
func Policy(
	m *v1alpha1.Memcache, deny types.UID, operator string,
) *applynetworkingv1.NetworkPolicyApplyConfiguration {
	out := policy(m, m.Name).WithOwnerReferences(resources.PolicyOwner(resources.DenyPolicyName(m), deny))
	clients := m.Spec.Access.Clients
	if m.Spec.Access.EffectiveMode() == v1alpha1.AccessAudit {
		out.Spec.WithIngress(everyone(v1alpha1.PortCache))
		clients = nil // they are among everyone
	}
	for _, audience := range []struct {
		peers []v1alpha1.Peer
		port  int32
	}{
		{clients, v1alpha1.PortCache},
		{m.Spec.Access.Metrics, v1alpha1.PortMetrics},
	} {
		if rule := rule(audience.peers, audience.port); rule != nil {
			out.Spec.WithIngress(rule)
		}
	}
	if operator != "" {
		out.Spec.WithIngress(everyone(v1alpha1.PortControl).WithFrom(applynetworkingv1.NetworkPolicyPeer().
			WithNamespaceSelector(applymetav1.LabelSelector().
				WithMatchLabels(map[string]string{corev1.LabelMetadataName: operator})).
			WithPodSelector(applymetav1.LabelSelector().
				WithMatchLabels(map[string]string{v1alpha1.LabelComponent: v1alpha1.ComponentOperator}))))
	}
	return out
}

// policy returns a NetworkPolicy for the fleet's pods that has no rule yet. Its
// finalizer has the garbage collector delete it in the foreground, that is
// after all that it owns; see resources.PolicyOwner.
func policy(m *v1alpha1.Memcache, name string) *applynetworkingv1.NetworkPolicyApplyConfiguration {
	return applynetworkingv1.NetworkPolicy(name, m.Namespace).
		WithLabels(resources.Labels(m)).
		WithOwnerReferences(resources.Owner(m)).
		WithFinalizers(metav1.FinalizerDeleteDependents).
		WithSpec(applynetworkingv1.NetworkPolicySpec().
			WithPodSelector(applymetav1.LabelSelector().
				WithMatchLabels(map[string]string{v1alpha1.LabelName: m.Name})).
			WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress))
}

// rule admits peers to one port; nil when there are none.
func rule(peers []v1alpha1.Peer, port int32) *applynetworkingv1.NetworkPolicyIngressRuleApplyConfiguration {
	if len(peers) == 0 {
		return nil
	}
	out := everyone(port)
	for i := range peers {
		out.WithFrom(peer(&peers[i]))
	}
	return out
}

// everyone is a rule for one port that names no peer yet: as it is, it admits
// everyone to that port.
func everyone(port int32) *applynetworkingv1.NetworkPolicyIngressRuleApplyConfiguration {
	return applynetworkingv1.NetworkPolicyIngressRule().
		WithPorts(applynetworkingv1.NetworkPolicyPort().
			WithProtocol(corev1.ProtocolTCP).
			WithPort(intstr.FromInt32(port)))
}

// peer puts both selectors into one element, where they are and-ed. In two
// elements they would be or-ed, and the pod selector would mean the fleet's own
// namespace.
func peer(p *v1alpha1.Peer) *applynetworkingv1.NetworkPolicyPeerApplyConfiguration {
	out := applynetworkingv1.NetworkPolicyPeer().
		WithNamespaceSelector(selector(p.NamespaceSelector.ToMetav1()))
	if p.PodSelector != nil {
		out.WithPodSelector(selector(p.PodSelector.ToMetav1()))
	}
	return out
}

func selector(s *metav1.LabelSelector) *applymetav1.LabelSelectorApplyConfiguration {
	out := applymetav1.LabelSelector()
	if len(s.MatchLabels) > 0 {
		out.WithMatchLabels(s.MatchLabels)
	}
	for _, e := range s.MatchExpressions {
		requirement := applymetav1.LabelSelectorRequirement().WithKey(e.Key).WithOperator(e.Operator)
		if len(e.Values) > 0 {
			requirement.WithValues(e.Values...)
		}
		out.WithMatchExpressions(requirement)
	}
	return out
}

// Unguarded returns the names of the client entries that pick namespaces by
// neither their name nor the fleet's own client label. Whoever may label
// namespaces can join those.
func Unguarded(m *v1alpha1.Memcache) []string {
	own := v1alpha1.ClientLabel(m.Namespace, m.Name)
	var names []string
	for i := range m.Spec.Access.Clients {
		p := &m.Spec.Access.Clients[i]
		if !requires(&p.NamespaceSelector, own) && !requires(&p.NamespaceSelector, corev1.LabelMetadataName) {
			names = append(names, p.Name)
		}
	}
	return names
}

// requires tells whether s demands certain values of the label key.
func requires(s *v1alpha1.LabelSelector, key string) bool {
	if _, ok := s.MatchLabels[key]; ok {
		return true
	}
	for _, e := range s.MatchExpressions {
		if e.Key == key && e.Operator == v1alpha1.SelectorIn {
			return true
		}
	}
	return false
}

// PolicyAdmits tells whether a rendered policy of a fleet lets a pod with these
// labels, in a namespace with those, connect to a port. It knows the rules that
// Policy writes and no others.
func PolicyAdmits(p *networkingv1.NetworkPolicy, port int32, namespace, pod map[string]string) bool {
	for i := range p.Spec.Ingress {
		rule := &p.Spec.Ingress[i]
		if !slices.ContainsFunc(rule.Ports, func(at networkingv1.NetworkPolicyPort) bool {
			return at.Port != nil && at.Port.IntVal == port
		}) {
			continue
		}
		if len(rule.From) == 0 || slices.ContainsFunc(rule.From, func(from networkingv1.NetworkPolicyPeer) bool {
			return from.IPBlock == nil && matches(from.NamespaceSelector, namespace, false) &&
				matches(from.PodSelector, pod, true)
		}) {
			return true
		}
	}
	return false
}

// matches tells whether a selector picks labels; absent is the answer where there is none.
func matches(s *metav1.LabelSelector, set map[string]string, absent bool) bool {
	if s == nil {
		return absent
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && set != nil && selector.Matches(labels.Set(set))
}
