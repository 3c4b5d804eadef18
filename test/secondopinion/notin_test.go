// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package secondopinion

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// To Kubernetes an object without a label meets NotIn; to cyclonus v0.5.6 it
// does not. So cyclonus is asked for both: NotIn, or no such label.

// alternatives are selectors that pick together what one picks, for cyclonus.
func alternatives(s *metav1.LabelSelector) []*metav1.LabelSelector {
	if s == nil {
		return []*metav1.LabelSelector{nil}
	}
	out := []*metav1.LabelSelector{{MatchLabels: s.MatchLabels}}
	for _, e := range s.MatchExpressions {
		var next []*metav1.LabelSelector
		for _, o := range out {
			next = append(next, with(o, e))
			if e.Operator == metav1.LabelSelectorOpNotIn {
				next = append(next, with(o, metav1.LabelSelectorRequirement{
					Key: e.Key, Operator: metav1.LabelSelectorOpDoesNotExist,
				}))
			}
		}
		out = next
	}
	return out
}

func with(s *metav1.LabelSelector, e metav1.LabelSelectorRequirement) *metav1.LabelSelector {
	out := s.DeepCopy()
	out.MatchExpressions = append(out.MatchExpressions, e)
	return out
}

// forCyclonus are policies that mean to cyclonus what one means to Kubernetes.
func forCyclonus(p *networkingv1.NetworkPolicy) []*networkingv1.NetworkPolicy {
	var out []*networkingv1.NetworkPolicy
	for _, pods := range alternatives(&p.Spec.PodSelector) {
		one := p.DeepCopy()
		one.Spec.PodSelector = *pods
		for i := range one.Spec.Ingress {
			one.Spec.Ingress[i].From = peersForCyclonus(one.Spec.Ingress[i].From)
		}
		out = append(out, one)
	}
	return out
}

func peersForCyclonus(peers []networkingv1.NetworkPolicyPeer) []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for _, p := range peers {
		for _, spaces := range alternatives(p.NamespaceSelector) {
			for _, pods := range alternatives(p.PodSelector) {
				out = append(out, networkingv1.NetworkPolicyPeer{
					IPBlock: p.IPBlock, NamespaceSelector: spaces, PodSelector: pods,
				})
			}
		}
	}
	return out
}
