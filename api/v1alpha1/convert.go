// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ToMetav1 returns the selector in the form that Kubernetes' own objects use.
// A nil selector stays nil: absent and empty mean different things to a NetworkPolicy.
func (s *LabelSelector) ToMetav1() *metav1.LabelSelector {
	if s == nil {
		return nil
	}
	out := &metav1.LabelSelector{MatchLabels: plainLabels(s.MatchLabels)}
	for _, e := range s.MatchExpressions {
		r := metav1.LabelSelectorRequirement{Key: e.Key, Operator: metav1.LabelSelectorOperator(e.Operator)}
		for _, v := range e.Values {
			r.Values = append(r.Values, string(v))
		}
		out.MatchExpressions = append(out.MatchExpressions, r)
	}
	return out
}

// ToCorev1 returns the toleration in the form that pods use.
func (t *Toleration) ToCorev1() corev1.Toleration {
	out := corev1.Toleration{
		Key:      t.Key,
		Operator: corev1.TolerationOperator(t.Operator),
		Effect:   corev1.TaintEffect(t.Effect),
	}
	if t.Value != nil {
		out.Value = string(*t.Value)
	}
	if t.TolerationSeconds != nil {
		out.TolerationSeconds = new(*t.TolerationSeconds)
	}
	return out
}

// NodeLabels returns nodeSelector in the form that pods use; nil when it is empty.
func (p *PlacementSpec) NodeLabels() map[string]string {
	return plainLabels(p.NodeSelector)
}

func plainLabels(in map[string]LabelValue) map[string]string {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]string, len(in))
	for k, v := range in {
		out[k] = string(v)
	}
	return out
}
