// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
)

// TestTheLockAdmitsWhomThePolicyAdmits compares two ways to the same answer: the
// addresses that caches are told to serve, and the rendered NetworkPolicy read
// by hand, rule by rule as Kubernetes' documentation has it. Only what has an
// address of its own counts.
func TestTheLockAdmitsWhomThePolicyAdmits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clients := rapid.SliceOfN(rapid.Custom(anyPeer), 0, 4).Draw(t, "clients")
		spaces := map[string]map[string]string{}
		for i := range 4 {
			name := fmt.Sprintf("ns%d", i)
			spaces[name] = rapid.MapOfN(key(), value(), 0, 3).Draw(t, name)
			spaces[name][corev1.LabelMetadataName] = name
		}
		pods := rapid.SliceOfN(rapid.Custom(anyPod), 0, 12).Draw(t, "pods")
		for i := range pods {
			pods[i].UID = types.UID(fmt.Sprint(i))
		}
		at := func(address string) (out []access.Pod) {
			for _, p := range pods {
				if slices.Contains(p.Addresses, address) {
					out = append(out, p)
				}
			}
			return out
		}

		compiled := compile(clients)
		var picked []access.Pod
		for _, p := range pods {
			if slices.ContainsFunc(compiled, func(c peer) bool { return c.picks(spaces[p.Namespace], p.Labels) }) {
				picked = append(picked, p)
			}
		}
		got := access.Served(picked, at)

		policy := policyOf(t, clients)
		var want []string
		for a := range 4 {
			address := fmt.Sprintf("10.0.0.%d", a)
			owners, clean := 0, true
			for _, p := range at(address) {
				if p.Ended {
					continue
				}
				owners++
				clean = clean && !p.HostNetwork && reaches(policy, spaces[p.Namespace], p.Labels)
			}
			if owners > 0 && clean {
				want = append(want, address)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("caches are told %v, the policy admits %v", got, want)
		}
	})
}

func key() *rapid.Generator[string]   { return rapid.SampledFrom([]string{"team", "env", "app"}) }
func value() *rapid.Generator[string] { return rapid.SampledFrom([]string{"", "a", "b"}) }

func anySelector(t *rapid.T) v1alpha1.LabelSelector {
	s := v1alpha1.LabelSelector{}
	for k, v := range rapid.MapOfN(key(), value(), 0, 2).Draw(t, "labels") {
		if s.MatchLabels == nil {
			s.MatchLabels = map[string]v1alpha1.LabelValue{}
		}
		s.MatchLabels[k] = v1alpha1.LabelValue(v)
	}
	for range rapid.IntRange(0, 2).Draw(t, "expressions") {
		r := v1alpha1.LabelSelectorRequirement{Key: key().Draw(t, "key")}
		r.Operator = rapid.SampledFrom([]v1alpha1.LabelSelectorOperator{
			v1alpha1.SelectorIn, v1alpha1.SelectorNotIn, v1alpha1.SelectorExists, v1alpha1.SelectorDoesNotExist,
		}).Draw(t, "operator")
		if r.Operator == v1alpha1.SelectorIn || r.Operator == v1alpha1.SelectorNotIn {
			for _, v := range rapid.SliceOfN(value(), 1, 2).Draw(t, "values") {
				r.Values = append(r.Values, v1alpha1.LabelValue(v))
			}
		}
		s.MatchExpressions = append(s.MatchExpressions, r)
	}
	return s
}

func anyPeer(t *rapid.T) v1alpha1.Peer {
	p := v1alpha1.Peer{Name: "p", NamespaceSelector: anySelector(t)}
	if rapid.Bool().Draw(t, "by name") {
		p.NamespaceSelector.MatchLabels = map[string]v1alpha1.LabelValue{
			corev1.LabelMetadataName: v1alpha1.LabelValue(fmt.Sprintf("ns%d", rapid.IntRange(0, 4).Draw(t, "ns"))),
		}
	}
	if rapid.Bool().Draw(t, "pod selector") {
		p.PodSelector = new(anySelector(t))
	}
	return p
}

func anyPod(t *rapid.T) access.Pod {
	p := access.Pod{
		Namespace:   fmt.Sprintf("ns%d", rapid.IntRange(0, 3).Draw(t, "namespace")),
		Labels:      rapid.MapOfN(key(), value(), 0, 3).Draw(t, "labels"),
		HostNetwork: rapid.IntRange(0, 9).Draw(t, "host") == 0,
		Ended:       rapid.IntRange(0, 4).Draw(t, "ended") == 0,
	}
	for _, a := range rapid.SliceOfNDistinct(rapid.IntRange(0, 3), 0, 2, rapid.ID[int]).Draw(t, "addresses") {
		p.Addresses = append(p.Addresses, fmt.Sprintf("10.0.0.%d", a))
	}
	return p
}

// policyOf is the fleet's policy as the API server would read it.
func policyOf(t *rapid.T, clients []v1alpha1.Peer) *networkingv1.NetworkPolicy {
	m := &v1alpha1.Memcache{ObjectMeta: metav1.ObjectMeta{Name: "sessions", Namespace: "caches"}}
	m.Spec.Access.Clients = clients
	data, err := json.Marshal(access.Policy(m, "deny", ""))
	if err != nil {
		t.Fatal(err)
	}
	out := &networkingv1.NetworkPolicy{}
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// reaches reads a policy by hand: a pod reaches the cache port if one rule has
// that port, and either no peer or one whose selectors both hold.
func reaches(p *networkingv1.NetworkPolicy, namespace, pod map[string]string) bool {
	for _, rule := range p.Spec.Ingress {
		hasPort := len(rule.Ports) == 0
		for _, port := range rule.Ports {
			hasPort = hasPort || port.Port.IntValue() == v1alpha1.PortCache
		}
		if !hasPort {
			continue
		}
		if len(rule.From) == 0 {
			return true
		}
		for _, from := range rule.From {
			if holds(from.NamespaceSelector, namespace) && (from.PodSelector == nil || holds(from.PodSelector, pod)) {
				return true
			}
		}
	}
	return false
}

// holds reads a selector by hand.
func holds(s *metav1.LabelSelector, set map[string]string) bool {
	for k, want := range s.MatchLabels {
		if got, ok := set[k]; !ok || got != want {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		got, there := set[e.Key]
		listed := there && slices.Contains(e.Values, got)
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			if !listed {
				return false
			}
		case metav1.LabelSelectorOpNotIn:
			if listed {
				return false
			}
		case metav1.LabelSelectorOpExists:
			if !there {
				return false
			}
		case metav1.LabelSelectorOpDoesNotExist:
			if there {
				return false
			}
		}
	}
	return true
}
