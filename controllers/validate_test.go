// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

func sessions(change ...func(*v1alpha1.Memcache)) *v1alpha1.Memcache {
	m := &v1alpha1.Memcache{
		ObjectMeta: metav1.ObjectMeta{Name: "sessions", Namespace: "caches", UID: "fleet", Generation: 7},
		Spec: v1alpha1.MemcacheSpec{
			Replicas: new(int32(2)),
			Memory:   resource.MustParse("1Gi"),
			Access: v1alpha1.AccessSpec{Clients: []v1alpha1.Peer{
				peerOf("web", v1alpha1.ClientLabel("caches", "sessions"), "true"),
			}},
		},
	}
	for _, c := range change {
		c(m)
	}
	return m
}

func peerOf(name, key, value string) v1alpha1.Peer {
	return v1alpha1.Peer{Name: name, NamespaceSelector: v1alpha1.LabelSelector{
		MatchLabels: map[string]v1alpha1.LabelValue{key: v1alpha1.LabelValue(value)},
	}}
}

// selected makes the one client pick namespaces by an expression alone.
func selected(key string, op v1alpha1.LabelSelectorOperator, values ...v1alpha1.LabelValue) func(*v1alpha1.Memcache) {
	return func(m *v1alpha1.Memcache) {
		m.Spec.Access.Clients[0].NamespaceSelector = v1alpha1.LabelSelector{
			MatchExpressions: []v1alpha1.LabelSelectorRequirement{{Key: key, Operator: op, Values: values}},
		}
	}
}

func TestValidate(t *testing.T) {
	const namespaces = "spec.access.clients[0].namespaceSelector"
	quantity := func(s string) *resource.Quantity { return new(resource.MustParse(s)) }
	tests := map[string]struct {
		change func(*v1alpha1.Memcache)
		// field is the one that is named; empty when the spec is fine.
		field string
	}{
		"a plain spec":       {func(*v1alpha1.Memcache) {}, ""},
		"nobody is admitted": {func(m *v1alpha1.Memcache) { m.Spec.Access = v1alpha1.AccessSpec{} }, ""},
		"no replicas":        {func(m *v1alpha1.Memcache) { m.Spec.Replicas = new(int32(0)) }, ""},
		"replicas absent":    {func(m *v1alpha1.Memcache) { m.Spec.Replicas = nil }, ""},
		"negative replicas":  {func(m *v1alpha1.Memcache) { m.Spec.Replicas = new(int32(-1)) }, "spec.replicas"},
		"too many replicas": {func(m *v1alpha1.Memcache) {
			m.Spec.Replicas = new(int32(101))
		}, "spec.replicas"},
		"a name too long":           {func(m *v1alpha1.Memcache) { m.Name = strings.Repeat("a", 41) }, "metadata.name"},
		"a name that begins with 1": {func(m *v1alpha1.Memcache) { m.Name = "1a" }, "metadata.name"},
		"memory too small": {func(m *v1alpha1.Memcache) {
			m.Spec.Memory = resource.MustParse("63Mi")
		}, "spec.memory"},
		"memory too large": {func(m *v1alpha1.Memcache) {
			m.Spec.Memory = resource.MustParse("2Ti")
		}, "spec.memory"},
		"memory absent": {func(m *v1alpha1.Memcache) {
			m.Spec.Memory = resource.Quantity{}
		}, "spec.memory"},
		"negative memory": {func(m *v1alpha1.Memcache) {
			m.Spec.Memory = resource.MustParse("-1Gi")
		}, "spec.memory"},
		"no cpu": {func(m *v1alpha1.Memcache) { m.Spec.CPU = quantity("0") }, "spec.cpu"},
		"items larger than half": {func(m *v1alpha1.Memcache) {
			m.Spec.Engine.MaxItemSize = quantity("513Mi")
		}, "spec.engine.maxItemSize"},
		"items too small": {func(m *v1alpha1.Memcache) {
			m.Spec.Engine.MaxItemSize = quantity("1")
		}, "spec.engine.maxItemSize"},
		"no connection": {func(m *v1alpha1.Memcache) {
			m.Spec.Engine.MaxConnections = new(int32(0))
		}, "spec.engine.maxConnections"},
		"an unknown admin command": {func(m *v1alpha1.Memcache) {
			m.Spec.Engine.AdminCommands = []v1alpha1.AdminCommand{"Shutdown"}
		}, "spec.engine.adminCommands[0]"},
		"an empty namespace selector": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Clients[0].NamespaceSelector = v1alpha1.LabelSelector{}
		}, namespaces},
		"namespaces that have a label":  {selected("team", v1alpha1.SelectorExists), namespaces},
		"namespaces without a label":    {selected("team", v1alpha1.SelectorDoesNotExist), namespaces},
		"namespaces other than some":    {selected("team", v1alpha1.SelectorNotIn, "a"), namespaces},
		"namespaces by a label's value": {selected("team", v1alpha1.SelectorIn, "a"), ""},
		"In without values":             {selected("team", v1alpha1.SelectorIn), namespaces},
		"an operator that is none":      {selected("team", "Maybe", "a"), namespaces},
		"namespaces with any name": {
			selected(corev1.LabelMetadataName, v1alpha1.SelectorExists),
			"spec.access.clients[0].namespaceSelector.matchExpressions[0]",
		},
		"the operator's namespace by label": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Clients[0] = peerOf("a", corev1.LabelMetadataName, "memkeep-system")
		}, "spec.access.clients[0].namespaceSelector.matchLabels"},
		"the outsiders' namespace by expression": {
			selected(corev1.LabelMetadataName, v1alpha1.SelectorIn, "shop", "memkeep-system-outsider"),
			"spec.access.clients[0].namespaceSelector.matchExpressions[0]",
		},
		"the operator's namespace as scraper": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Metrics = []v1alpha1.Peer{peerOf("a", corev1.LabelMetadataName, "memkeep-system")}
		}, "spec.access.metrics[0].namespaceSelector.matchLabels"},
		"a label key that is none": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Clients[0] = peerOf("a", "no key!", "x")
		}, namespaces},
		"a pod selector that is none": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Clients[0].PodSelector = &v1alpha1.LabelSelector{
				MatchLabels: map[string]v1alpha1.LabelValue{"app": "no value!"},
			}
		}, "spec.access.clients[0].podSelector"},
		"auditing": {func(m *v1alpha1.Memcache) { m.Spec.Access.Mode = v1alpha1.AccessAudit }, ""},
		"auditing with verified peers": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Mode, m.Spec.Access.Peers = v1alpha1.AccessAudit, v1alpha1.PeersVerified
		}, "spec.access.mode"},
		"auditing with required verification": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Mode, m.Spec.Access.Verification = v1alpha1.AccessAudit, v1alpha1.VerificationRequired
		}, "spec.access.mode"},
		"verified peers with required verification": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Peers, m.Spec.Access.Verification = v1alpha1.PeersVerified, v1alpha1.VerificationRequired
		}, ""},
		"a mode that is none":         {func(m *v1alpha1.Memcache) { m.Spec.Access.Mode = "audit" }, "spec.access.mode"},
		"peers that are none":         {func(m *v1alpha1.Memcache) { m.Spec.Access.Peers = "All" }, "spec.access.peers"},
		"a verification that is none": {func(m *v1alpha1.Memcache) { m.Spec.Access.Verification = "No" }, "spec.access.verification"},
		"two clients of one name": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Clients = append(m.Spec.Access.Clients, m.Spec.Access.Clients[0])
		}, "spec.access.clients[1].name"},
		"too many clients": {func(m *v1alpha1.Memcache) {
			m.Spec.Access.Clients = make([]v1alpha1.Peer, 65)
		}, "spec.access.clients"},
		"a toleration of everything by mistake": {func(m *v1alpha1.Memcache) {
			m.Spec.Placement.Tolerations = []v1alpha1.Toleration{{Effect: v1alpha1.TaintNoSchedule}}
		}, "spec.placement.tolerations[0]"},
		"a node label that is none": {func(m *v1alpha1.Memcache) {
			m.Spec.Placement.NodeSelector = map[string]v1alpha1.LabelValue{"!": ""}
		}, "spec.placement.nodeSelector"},
		"a spread that is none": {func(m *v1alpha1.Memcache) {
			m.Spec.Placement.Spread.Nodes = "Maybe"
		}, "spec.placement.spread"},
		"a class that is none": {func(m *v1alpha1.Memcache) { m.Spec.Placement.PriorityClassName = "High!" },
			"spec.placement.priorityClassName"},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			got := validate(sessions(c.change), []string{"memkeep-system", "memkeep-system-outsider"})
			if c.field == "" {
				if len(got) > 0 {
					t.Errorf("refused: %v", got)
				}
				return
			}
			if len(got) == 0 || !strings.HasPrefix(got[0], c.field+": ") {
				t.Errorf("got %v, want %s first", got, c.field)
			}
		})
	}
}

func TestAProblemNeverShowsAValue(t *testing.T) {
	m := sessions(func(m *v1alpha1.Memcache) {
		m.Spec.Access.Clients[0] = peerOf("web", "secret-key!", "secret-value!")
		m.Spec.Placement.PriorityClassName = "Secret!"
		m.Spec.Memory = resource.MustParse("12345")
	})
	for _, p := range validate(m, nil) {
		if strings.Contains(strings.ToLower(p), "secret") || strings.Contains(p, "12345") {
			t.Errorf("it shows a value: %s", p)
		}
	}
}
