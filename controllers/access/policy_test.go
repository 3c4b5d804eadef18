// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

func fleet(clients, metrics []v1alpha1.Peer) *v1alpha1.Memcache {
	return &v1alpha1.Memcache{
		ObjectMeta: metav1.ObjectMeta{Name: "sessions", Namespace: "caches", UID: "1b7b0c5e"},
		Spec:       v1alpha1.MemcacheSpec{Access: v1alpha1.AccessSpec{Clients: clients, Metrics: metrics}},
	}
}

// rendered returns the policy as the API server would read it.
func rendered(t *testing.T, m *v1alpha1.Memcache) (*networkingv1.NetworkPolicy, string) {
	t.Helper()
	data, err := json.Marshal(Policy(m, "deny-uid", ""))
	if err != nil {
		t.Fatal(err)
	}
	out := &networkingv1.NetworkPolicy{}
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatal(err)
	}
	return out, string(data)
}

func byName(name, namespace string) v1alpha1.Peer {
	return v1alpha1.Peer{Name: name, NamespaceSelector: v1alpha1.LabelSelector{
		MatchLabels: map[string]v1alpha1.LabelValue{corev1.LabelMetadataName: v1alpha1.LabelValue(namespace)},
	}}
}

func TestWithoutClientsThereIsNoRuleForTheCachePort(t *testing.T) {
	metrics := []v1alpha1.Peer{byName("prometheus", "monitoring")}
	for name, m := range map[string]*v1alpha1.Memcache{
		"absent":                 fleet(nil, nil),
		"empty":                  fleet([]v1alpha1.Peer{}, []v1alpha1.Peer{}),
		"absent, with metrics":   fleet(nil, metrics),
		"empty, with metrics":    fleet([]v1alpha1.Peer{}, metrics),
		"no access block at all": {ObjectMeta: metav1.ObjectMeta{Name: "sessions"}},
	} {
		t.Run(name, func(t *testing.T) {
			policy, text := rendered(t, m)
			if len(policy.Spec.Ingress) != len(m.Spec.Access.Metrics) {
				t.Errorf("%d rules: %s", len(policy.Spec.Ingress), text)
			}
			if strings.Contains(text, "11211") {
				t.Errorf("the cache port has a rule: %s", text)
			}
			for _, rule := range policy.Spec.Ingress {
				if len(rule.From) == 0 || len(rule.Ports) == 0 {
					t.Errorf("a rule admits everyone: %s", text)
				}
			}
		})
	}
}

func TestTheDenyPolicyAdmitsNobodyWhoeverIsNamed(t *testing.T) {
	everyone := []v1alpha1.Peer{byName("prometheus", "monitoring")}
	deny := DenyPolicy(fleet(everyone, everyone))
	if *deny.Name != "sessions-deny" || len(deny.Spec.Ingress)+len(deny.Spec.Egress) != 0 {
		t.Errorf("the deny policy has rules: %+v", deny)
	}
	if want := []networkingv1.PolicyType{"Ingress", "Egress"}; !slices.Equal(deny.Spec.PolicyTypes, want) {
		t.Errorf("types are %v", deny.Spec.PolicyTypes)
	}
}

func TestThePolicyDeniesBothDirections(t *testing.T) {
	policy, text := rendered(t, fleet(nil, nil))
	if want := []networkingv1.PolicyType{"Ingress", "Egress"}; !slices.Equal(policy.Spec.PolicyTypes, want) {
		t.Errorf("types are %v", policy.Spec.PolicyTypes)
	}
	if len(policy.Spec.Egress) != 0 {
		t.Errorf("there is a way out: %s", text)
	}
	if got := policy.Spec.PodSelector.MatchLabels; len(got) != 1 || got[v1alpha1.LabelName] != "sessions" {
		t.Errorf("the policy holds pods %v", got)
	}
	if !slices.Equal(policy.Finalizers, []string{metav1.FinalizerDeleteDependents}) {
		t.Errorf("finalizers are %v", policy.Finalizers)
	}
}

func TestEachAudienceHasOneRuleForItsOwnPort(t *testing.T) {
	policy, text := rendered(t, fleet(
		[]v1alpha1.Peer{byName("web", "shop"), byName("batch", "jobs")},
		[]v1alpha1.Peer{byName("prometheus", "monitoring")}))
	if len(policy.Spec.Ingress) != 2 {
		t.Fatalf("%d rules: %s", len(policy.Spec.Ingress), text)
	}
	for i, want := range []struct {
		port       int
		namespaces []string
	}{
		{v1alpha1.PortCache, []string{"shop", "jobs"}},
		{v1alpha1.PortMetrics, []string{"monitoring"}},
	} {
		rule := policy.Spec.Ingress[i]
		if len(rule.Ports) != 1 || rule.Ports[0].Port.IntValue() != want.port ||
			*rule.Ports[0].Protocol != corev1.ProtocolTCP || rule.Ports[0].EndPort != nil {
			t.Errorf("ports of rule %d: %s", i, text)
		}
		var got []string
		for _, peer := range rule.From {
			got = append(got, peer.NamespaceSelector.MatchLabels[corev1.LabelMetadataName])
		}
		if !slices.Equal(got, want.namespaces) {
			t.Errorf("rule %d admits %v, want %v", i, got, want.namespaces)
		}
	}
}

func TestBothSelectorsOfAPeerStandInOneElement(t *testing.T) {
	peer := byName("web", "shop")
	peer.NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{
		{Key: "env", Operator: v1alpha1.SelectorNotIn, Values: []v1alpha1.LabelValue{"test"}},
	}
	peer.PodSelector = &v1alpha1.LabelSelector{
		MatchLabels:      map[string]v1alpha1.LabelValue{"app": "web"},
		MatchExpressions: []v1alpha1.LabelSelectorRequirement{{Key: "canary", Operator: v1alpha1.SelectorDoesNotExist}},
	}
	policy, text := rendered(t, fleet([]v1alpha1.Peer{peer}, nil))
	from := policy.Spec.Ingress[0].From
	if len(from) != 1 || from[0].NamespaceSelector == nil || from[0].PodSelector == nil || from[0].IPBlock != nil {
		t.Fatalf("peers: %s", text)
	}
	for want, got := range map[string]*metav1.LabelSelector{
		"env notin (test),kubernetes.io/metadata.name=shop": from[0].NamespaceSelector,
		"app=web,!canary": from[0].PodSelector,
	} {
		if metav1.FormatLabelSelector(got) != want {
			t.Errorf("selector %s, want %s", metav1.FormatLabelSelector(got), want)
		}
	}
}

func TestClientsThatAnyLabellerCanJoinAreNamed(t *testing.T) {
	labelled := func(name, key string) v1alpha1.Peer {
		return v1alpha1.Peer{Name: name, NamespaceSelector: v1alpha1.LabelSelector{
			MatchLabels: map[string]v1alpha1.LabelValue{key: "true"},
		}}
	}
	in := v1alpha1.Peer{Name: "in", NamespaceSelector: v1alpha1.LabelSelector{
		MatchExpressions: []v1alpha1.LabelSelectorRequirement{
			{Key: corev1.LabelMetadataName, Operator: v1alpha1.SelectorIn, Values: []v1alpha1.LabelValue{"a", "b"}},
		},
	}}
	m := fleet([]v1alpha1.Peer{
		byName("name", "shop"), in,
		labelled("own", v1alpha1.ClientLabel("caches", "sessions")),
		labelled("other-fleet", v1alpha1.ClientLabel("caches", "pages")),
		labelled("same-name-elsewhere", v1alpha1.ClientLabel("other", "sessions")),
		labelled("team", "team"),
	}, []v1alpha1.Peer{labelled("metrics", "team")})
	want := []string{"other-fleet", "same-name-elsewhere", "team"}
	if got := Unguarded(m); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAuditAdmitsEveryoneToTheCachePortAlone(t *testing.T) {
	metrics := []v1alpha1.Peer{byName("prometheus", "monitoring")}
	for name, m := range map[string]*v1alpha1.Memcache{
		"without clients": fleet(nil, metrics),
		"with clients":    fleet([]v1alpha1.Peer{byName("web", "shop")}, metrics),
	} {
		t.Run(name, func(t *testing.T) {
			m.Spec.Access.Mode = v1alpha1.AccessAudit
			policy, text := rendered(t, m)
			open := 0
			for _, rule := range policy.Spec.Ingress {
				if len(rule.Ports) != 1 || rule.Ports[0].Port == nil {
					t.Errorf("a rule is for more than one port: %s", text)
				}
				if len(rule.From) == 0 {
					open++
					if p := rule.Ports[0]; p.Port.IntValue() != v1alpha1.PortCache || *p.Protocol != corev1.ProtocolTCP {
						t.Errorf("everyone is admitted to %v: %s", p, text)
					}
				}
			}
			if open != 1 || len(policy.Spec.Ingress) != 2 || len(policy.Spec.PolicyTypes) != 2 {
				t.Errorf("%d of %d rules admit everyone: %s", open, len(policy.Spec.Ingress), text)
			}
		})
	}
}

func TestWhomARenderedPolicyAdmits(t *testing.T) {
	web := byName("web", "shop")
	web.PodSelector = &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"app": "web"}}
	m := fleet([]v1alpha1.Peer{web, byName("batch", "jobs")}, []v1alpha1.Peer{byName("prometheus", "monitoring")})
	enforce, _ := rendered(t, m)
	nobody, _ := rendered(t, fleet(nil, m.Spec.Access.Metrics))
	m.Spec.Access.Mode = v1alpha1.AccessAudit
	audit, _ := rendered(t, m)
	in := func(name string) map[string]string { return map[string]string{corev1.LabelMetadataName: name} }
	app := func(name string) map[string]string { return map[string]string{"app": name} }
	for name, c := range map[string]struct {
		policy         *networkingv1.NetworkPolicy
		port           int32
		namespace, pod map[string]string
		want           bool
	}{
		"a client":                           {enforce, v1alpha1.PortCache, in("shop"), app("web"), true},
		"a client of any label":              {enforce, v1alpha1.PortCache, in("jobs"), app("x"), true},
		"a client at the metrics port":       {enforce, v1alpha1.PortMetrics, in("shop"), app("web"), false},
		"the wrong pod":                      {enforce, v1alpha1.PortCache, in("shop"), app("x"), false},
		"the wrong namespace":                {enforce, v1alpha1.PortCache, in("other"), app("web"), false},
		"a namespace that is not known":      {enforce, v1alpha1.PortCache, nil, app("web"), false},
		"a scraper at its port":              {enforce, v1alpha1.PortMetrics, in("monitoring"), app("x"), true},
		"a scraper at the cache port":        {enforce, v1alpha1.PortCache, in("monitoring"), app("x"), false},
		"anybody where nobody is named":      {nobody, v1alpha1.PortCache, in("shop"), app("web"), false},
		"anybody in audit":                   {audit, v1alpha1.PortCache, in("other"), app("x"), true},
		"who is no pod in audit":             {audit, v1alpha1.PortCache, nil, nil, true},
		"anybody at the metrics port, audit": {audit, v1alpha1.PortMetrics, in("other"), app("x"), false},
	} {
		if got := PolicyAdmits(c.policy, c.port, c.namespace, c.pod); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestTheOperatorReachesTheControlPortAndNothingElse(t *testing.T) {
	m := fleet(nil, nil)
	out := Policy(m, "deny-uid", "memkeep-system")
	if len(out.Spec.Ingress) != 1 {
		t.Fatalf("%d rules", len(out.Spec.Ingress))
	}
	data, err := json.Marshal(out.Spec.Ingress[0])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"ports":[{"protocol":"TCP","port":11213}],"from":[{` +
		`"podSelector":{"matchLabels":{"memkeep.io/component":"operator"}},` +
		`"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"memkeep-system"}}}]}`
	if string(data) != want {
		t.Fatalf("got  %s\nwant %s", data, want)
	}
	if without := Policy(m, "deny-uid", ""); len(without.Spec.Ingress) != 0 {
		t.Fatal("without an operator somebody gets in")
	}
}
