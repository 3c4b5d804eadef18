// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package secondopinion

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
	"github.com/memkeep/memkeep/controllers/access/effective"
	"github.com/memkeep/memkeep/controllers/resources"
)

const (
	fleetNamespace = "caches"
	fleetName      = "sessions"
	operator       = "memkeep-system"
)

// Few names and few values, so that what is drawn has to do with each other.
var (
	spaces = []string{fleetNamespace, "shop", operator}
	keys   = []string{"team", "env"}
	values = []string{"a", "b", "c"}
	ports  = []int32{v1alpha1.PortCache, v1alpha1.PortCacheTLS, v1alpha1.PortMetrics, v1alpha1.PortControl}
	blocks = []string{"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "fd00::/8"}
	inside = map[string][]string{
		"0.0.0.0/0": {"0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8"}, "10.0.0.0/8": {"10.1.0.0/16", "10.0.0.0/9", "10.128.0.0/9"},
		"10.1.0.0/16": {"10.1.2.0/24"}, "::/0": {"fd00::/8", "::/1", "8000::/1"}, "fd00::/8": {"fd00::/16"},
	}
	addresses = []string{"10.1.2.3", "10.1.2.4", "10.200.0.1", "192.0.2.7", "fd00::1", "fd01::1", "2001:db8::1"}
)

func pick[T any](t *rapid.T, from []T, label string) T { return rapid.SampledFrom(from).Draw(t, label) }

func chance(t *rapid.T, of int, label string) bool { return rapid.IntRange(1, of).Draw(t, label) == 1 }

// labels draws labels; with name those of a namespace of that name.
func labels(t *rapid.T, name string) map[string]string {
	out := map[string]string{}
	for _, key := range keys {
		if rapid.Bool().Draw(t, "has "+key) {
			out[key] = pick(t, values, key)
		}
	}
	if name != "" {
		out[corev1.LabelMetadataName] = name
	}
	return out
}

// selector draws a selector of pods, or of namespaces.
func selector(t *rapid.T, ofSpaces bool) *metav1.LabelSelector {
	out := &metav1.LabelSelector{}
	for range rapid.IntRange(0, 2).Draw(t, "requirements") {
		key, from := pick(t, keys, "key"), values
		if ofSpaces && chance(t, 3, "by name") {
			key, from = corev1.LabelMetadataName, spaces
		}
		if rapid.Bool().Draw(t, "matchLabels") {
			if out.MatchLabels == nil {
				out.MatchLabels = map[string]string{}
			}
			out.MatchLabels[key] = pick(t, from, "value")
			continue
		}
		e := metav1.LabelSelectorRequirement{Key: key, Operator: pick(t, []metav1.LabelSelectorOperator{
			metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn,
			metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist,
		}, "operator")}
		if e.Operator == metav1.LabelSelectorOpIn || e.Operator == metav1.LabelSelectorOpNotIn {
			e.Values = rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, 2, rapid.ID).Draw(t, "values")
		}
		out.MatchExpressions = append(out.MatchExpressions, e)
	}
	return out
}

// client draws an entry of spec.access as the API lets it be.
func client(t *rapid.T, name string) v1alpha1.Peer {
	p := v1alpha1.Peer{Name: name}
	key, from := pick(t, keys, "client's key"), values
	if rapid.Bool().Draw(t, "client by name") {
		key, from = corev1.LabelMetadataName, spaces[:2]
	}
	if rapid.Bool().Draw(t, "client by label") {
		p.NamespaceSelector.MatchLabels = map[string]v1alpha1.LabelValue{key: v1alpha1.LabelValue(pick(t, from, "value"))}
	} else {
		e := v1alpha1.LabelSelectorRequirement{Key: key, Operator: v1alpha1.SelectorIn}
		for _, v := range rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, 2, rapid.ID).Draw(t, "values") {
			e.Values = append(e.Values, v1alpha1.LabelValue(v))
		}
		p.NamespaceSelector.MatchExpressions = append(p.NamespaceSelector.MatchExpressions, e)
	}
	if rapid.Bool().Draw(t, "client's pods") {
		drawn, s := selector(t, false), &v1alpha1.LabelSelector{}
		for k, v := range drawn.MatchLabels {
			s.MatchLabels = map[string]v1alpha1.LabelValue{k: v1alpha1.LabelValue(v)}
		}
		for _, e := range drawn.MatchExpressions {
			r := v1alpha1.LabelSelectorRequirement{Key: e.Key, Operator: v1alpha1.LabelSelectorOperator(e.Operator)}
			for _, v := range e.Values {
				r.Values = append(r.Values, v1alpha1.LabelValue(v))
			}
			s.MatchExpressions = append(s.MatchExpressions, r)
		}
		p.PodSelector = s
	}
	return p
}

// memcache draws a fleet's object.
func memcache(t *rapid.T) *v1alpha1.Memcache {
	m := &v1alpha1.Memcache{}
	m.Namespace, m.Name = fleetNamespace, fleetName
	for i := range rapid.IntRange(0, 3).Draw(t, "clients") {
		m.Spec.Access.Clients = append(m.Spec.Access.Clients, client(t, fmt.Sprint(i)))
	}
	for i := range rapid.IntRange(0, 1).Draw(t, "scrapers") {
		m.Spec.Access.Metrics = append(m.Spec.Access.Metrics, client(t, fmt.Sprint(i)))
	}
	if chance(t, 8, "audit") {
		m.Spec.Access.Mode = v1alpha1.AccessAudit
	}
	return m
}

// rendered are the fleet's own policies, as the operator applies them.
func rendered(t *rapid.T, m *v1alpha1.Memcache) []*networkingv1.NetworkPolicy {
	var out []*networkingv1.NetworkPolicy
	for i, configuration := range []any{access.Policy(m, "deny", operator), access.DenyPolicy(m)} {
		data, err := json.Marshal(configuration)
		if err != nil {
			t.Fatal(err)
		}
		p := &networkingv1.NetworkPolicy{}
		if err := json.Unmarshal(data, p); err != nil {
			t.Fatal(err)
		}
		p.UID = types.UID(fmt.Sprint("own-", i))
		out = append(out, p)
	}
	return out
}

// policy draws somebody's policy in the fleet's namespace.
func policy(t *rapid.T, name string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{}
	p.Namespace, p.Name, p.UID = fleetNamespace, name, types.UID(name)
	p.Spec.PolicyTypes = [][]networkingv1.PolicyType{
		{networkingv1.PolicyTypeIngress}, {networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		{networkingv1.PolicyTypeEgress},
	}[min(2, rapid.IntRange(0, 6).Draw(t, "types")/3)]
	switch rapid.IntRange(0, 3).Draw(t, "selects") {
	case 0:
		p.Spec.PodSelector.MatchLabels = map[string]string{v1alpha1.LabelName: fleetName}
	case 1:
		p.Spec.PodSelector.MatchLabels = map[string]string{
			"apps.kubernetes.io/pod-index": pick(t, []string{"0", "1", "2"}, "index"),
		}
	case 2:
		p.Spec.PodSelector = *selector(t, false)
	}
	for range rapid.IntRange(0, 2).Draw(t, "rules") {
		p.Spec.Ingress = append(p.Spec.Ingress, rule(t))
	}
	return p
}

func rule(t *rapid.T) networkingv1.NetworkPolicyIngressRule {
	var r networkingv1.NetworkPolicyIngressRule
	for range rapid.IntRange(0, 2).Draw(t, "ports") {
		r.Ports = append(r.Ports, port(t))
	}
	for range rapid.IntRange(0, 2).Draw(t, "peers") {
		r.From = append(r.From, peer(t))
	}
	return r
}

func port(t *rapid.T) networkingv1.NetworkPolicyPort {
	var p networkingv1.NetworkPolicyPort
	if rapid.Bool().Draw(t, "protocol given") {
		p.Protocol = new(pick(t, []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolTCP, corev1.ProtocolUDP}, "protocol"))
	}
	switch rapid.IntRange(0, 4).Draw(t, "port is") {
	case 0:
	case 1:
		p.Port = new(intstr.FromString(pick(t, []string{"memcache", "metrics", "control", "http"}, "name")))
	case 2:
		first := pick(t, []int32{1, 9150, 9151, 11211, 11212}, "first")
		p.Port = new(intstr.FromInt32(first))
		p.EndPort = new(max(first, pick(t, []int32{9150, 11210, 11211, 11212, 65535}, "last")))
	default:
		p.Port = new(intstr.FromInt32(pick(t, append([]int32{80}, ports...), "number")))
	}
	return p
}

func peer(t *rapid.T) networkingv1.NetworkPolicyPeer {
	var p networkingv1.NetworkPolicyPeer
	switch rapid.IntRange(0, 3).Draw(t, "peer is") {
	case 0:
		cidr := pick(t, blocks, "block")
		p.IPBlock = &networkingv1.IPBlock{CIDR: cidr}
		if len(inside[cidr]) > 0 {
			p.IPBlock.Except = rapid.SliceOfNDistinct(rapid.SampledFrom(inside[cidr]), 0, 2, rapid.ID).Draw(t, "except")
		}
	case 1:
		p.PodSelector = selector(t, false)
	case 2:
		p.NamespaceSelector = selector(t, true)
	default:
		p.NamespaceSelector, p.PodSelector = selector(t, true), selector(t, false)
	}
	return p
}

// pods draws the fleet's pods. Some name their ports otherwise than the operator does.
func pods(t *rapid.T, m *v1alpha1.Memcache) []effective.Pod {
	var out []effective.Pod
	for i := range rapid.IntRange(1, 2).Draw(t, "pods") {
		p := effective.Pod{Name: fmt.Sprintf("%s-%d", fleetName, i), Labels: resources.PodLabels(m)}
		p.Labels["apps.kubernetes.io/pod-index"] = fmt.Sprint(i)
		if chance(t, 3, "labelled") {
			p.Labels["team"] = pick(t, values, "team")
		}
		names := []string{"memcache", "tls", "metrics", "control"}
		if chance(t, 4, "named otherwise") {
			names = []string{"http", "metrics", "memcache", "control"}
		}
		for j, number := range ports {
			p.Ports = append(p.Ports, effective.Port{Name: names[j], Number: number, TCP: true})
		}
		out = append(out, p)
	}
	return slices.Clip(out)
}
