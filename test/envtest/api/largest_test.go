// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
)

// TestTheLargestLegalObject fills every list to its bound: the rules must stay
// within the API server's budget, or users could write what nobody can store.
func TestTheLargestLegalObject(t *testing.T) {
	selector := memkeepv1alpha1.LabelSelector{MatchLabels: map[string]memkeepv1alpha1.LabelValue{}}
	for i := range 16 {
		selector.MatchLabels[fmt.Sprintf("%s.example.com/k%d", strings.Repeat("d", 60), i)] = "v"
	}
	for i := range 8 {
		r := memkeepv1alpha1.LabelSelectorRequirement{
			Key: fmt.Sprintf("%s%d", strings.Repeat("k", 60), i), Operator: memkeepv1alpha1.SelectorIn,
		}
		for j := range 64 {
			r.Values = append(r.Values, memkeepv1alpha1.LabelValue(fmt.Sprintf("value-%d", j)))
		}
		selector.MatchExpressions = append(selector.MatchExpressions, r)
	}
	m := &memkeepv1alpha1.Memcache{
		ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("n", 40), Namespace: "caches"},
		Spec:       memkeepv1alpha1.MemcacheSpec{Memory: resource.MustParse("1Ti"), Replicas: new(int32(100))},
	}
	for i := range 64 {
		peer := memkeepv1alpha1.Peer{Name: fmt.Sprintf("p%d", i), NamespaceSelector: selector, PodSelector: &selector}
		m.Spec.Access.Clients = append(m.Spec.Access.Clients, peer)
		if i < 8 {
			m.Spec.Access.Metrics = append(m.Spec.Access.Metrics, peer)
		}
	}
	if err := kube.Create(t.Context(), m, client.DryRunAll); err != nil {
		t.Fatalf("refused: %v", err)
	}
}
