// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/memkeep/memkeep/controllers/access"
)

// ciliumSpec is a CiliumNetworkPolicy's, or a CiliumClusterwideNetworkPolicy's.
type ciliumSpec struct {
	EndpointSelector  *metav1.LabelSelector `json:"endpointSelector"`
	NodeSelector      *metav1.LabelSelector `json:"nodeSelector"`
	Ingress           []map[string]any      `json:"ingress"`
	IngressDeny       []any                 `json:"ingressDeny"`
	Egress            []any                 `json:"egress"`
	EgressDeny        []any                 `json:"egressDeny"`
	Labels            []any                 `json:"labels"`
	EnableDefaultDeny map[string]any        `json:"enableDefaultDeny"`
	Description       string                `json:"description"`
	Log               map[string]any        `json:"log"`
}

type ciliumRule struct {
	FromEndpoints  []metav1.LabelSelector `json:"fromEndpoints"`
	FromCIDR       []string               `json:"fromCIDR"`
	FromCIDRSet    []any                  `json:"fromCIDRSet"`
	FromEntities   []string               `json:"fromEntities"`
	FromNodes      []any                  `json:"fromNodes"`
	FromGroups     []any                  `json:"fromGroups"`
	FromRequires   []any                  `json:"fromRequires"`
	ToPorts        []ciliumPorts          `json:"toPorts"`
	ICMPs          []any                  `json:"icmps"`
	Authentication map[string]any         `json:"authentication"`
}

type ciliumPorts struct {
	Ports []struct {
		Port     string `json:"port"`
		EndPort  int32  `json:"endPort"`
		Protocol string `json:"protocol"`
	} `json:"ports"`
	Rules          map[string]any `json:"rules"`
	Listener       map[string]any `json:"listener"`
	TerminatingTLS map[string]any `json:"terminatingTLS"`
	OriginatingTLS map[string]any `json:"originatingTLS"`
	ServerNames    []any          `json:"serverNames"`
}

// ofCilium judges one specification of Cilium's.
func ofCilium(f *Fleet, w *access.World, p *access.Foreign) answer {
	var spec ciliumSpec
	if decode(p.Spec, &spec) != nil {
		return unclear("it has fields that this operator does not know")
	}
	if spec.NodeSelector != nil {
		return answer{} // It is about nodes, and not about pods.
	}
	chosen := ciliumSelects(f, w, spec.EndpointSelector)
	if chosen == never {
		return answer{}
	}
	var out answer
	for i, fields := range spec.Ingress {
		a := ofCiliumRule(f, w, p, i, fields)
		out.widens = append(out.widens, a.widens...)
		if a.unclear != "" {
			out.unclear = a.unclear
		}
	}
	if chosen == maybe && len(out.widens) > 0 {
		return unclear("whether it selects the fleet's pods is not known")
	}
	return out
}

// ofCiliumRule judges a rule. One that says nothing of where from is for
// everyone at its ports; one that says nothing at all admits nobody.
func ofCiliumRule(f *Fleet, w *access.World, p *access.Foreign, place int, fields map[string]any) answer {
	var rule ciliumRule
	if decode(fields, &rule) != nil {
		return unclear("rule %d has fields that this operator does not know", place)
	}
	from := slices.ContainsFunc([]string{
		"fromEndpoints", "fromCIDR", "fromCIDRSet", "fromEntities", "fromNodes", "fromGroups",
	}, func(field string) bool { return fields[field] != nil })
	open := func(pod *Pod, port int32) bool { return rule.opens(pod, port) }
	var widens []Excess
	switch {
	case !from && len(rule.ToPorts) == 0:
		return answer{}
	case !from:
		widens = excess(place, "everyone", open, f)
	case len(rule.FromEntities) > 0:
		widens = excess(place, "the entities "+strings.Join(rule.FromEntities, ", "), open, f)
	case len(rule.FromCIDR)+len(rule.FromCIDRSet)+len(rule.FromGroups) > 0:
		widens = excess(place, "ranges of addresses", open, f)
	case len(rule.FromNodes) > 0:
		widens = excess(place, "nodes", open, f)
	}
	for i := range rule.FromEndpoints {
		more, ok := ciliumBeyond(f, w, p, place, &rule.FromEndpoints[i], open)
		if !ok {
			return unclear("rule %d selects by labels that only Cilium knows", place)
		}
		widens = append(widens, more...)
	}
	if len(widens) > 0 && (rule.Authentication != nil || len(rule.FromRequires) > 0) {
		return unclear("rule %d has further demands", place)
	}
	return answer{widens: widens}
}

// opens tells whether the rule is for a pod's port. What it demands of the
// content makes it narrower, and is passed over.
func (r *ciliumRule) opens(pod *Pod, port int32) bool {
	if len(r.ToPorts) == 0 {
		return len(r.ICMPs) == 0
	}
	for i := range r.ToPorts {
		if len(r.ToPorts[i].Ports) == 0 {
			return true
		}
		for _, p := range r.ToPorts[i].Ports {
			first, err := strconv.ParseInt(p.Port, 10, 32)
			last := max(int32(first), p.EndPort)
			switch {
			case p.Protocol != "" && !isTCP(p.Protocol):
			case err != nil && pod.names(p.Port, port),
				err == nil && (first == 0 || int32(first) <= port && port <= last):
				return true
			}
		}
	}
	return false
}

// ciliumBeyond is what an endpoint selector admits beyond the fleet's own policy.
func ciliumBeyond(
	f *Fleet, w *access.World, p *access.Foreign, place int, s *metav1.LabelSelector, open func(*Pod, int32) bool,
) ([]Excess, bool) {
	spaces, pods, ok := ciliumLabels(s)
	if !ok {
		return nil, false
	}
	b := &box{}
	if p.Namespace != "" && len(spaces.MatchLabels)+len(spaces.MatchExpressions) == 0 {
		b = b.with(nameOf, oneOf(p.Namespace))
	}
	b, err := b.require(false, spaces)
	if err != nil {
		return nil, false
	}
	if b, err = b.require(true, pods); err != nil {
		return nil, false
	}
	b = settled(f, b, w.Namespace)
	who := "every pod"
	if named := keys(s); named != "" {
		who = "pods picked by " + named
	}
	return excess(place, who, func(pod *Pod, port int32) bool {
		own, _ := ownPeers(f, pod, port)
		steps := maxSteps
		return open(pod, port) && b.beyond(own, &steps) != nil
	}, f), true
}

// Prefixes of Cilium's labels.
const (
	ciliumPodNamespace   = "io.kubernetes.pod.namespace"
	ciliumNamespaceLabel = "io.cilium.k8s.namespace.labels."
)

// ciliumLabels splits a selector into what it asks of namespaces and of pods. It
// answers false for labels that are not Kubernetes'.
func ciliumLabels(s *metav1.LabelSelector) (spaces, pods *metav1.LabelSelector, ok bool) {
	spaces, pods = &metav1.LabelSelector{}, &metav1.LabelSelector{}
	place := func(key string) (*metav1.LabelSelector, string) {
		source, name, found := strings.Cut(key, ":")
		if !found {
			source, name = "any", key
		}
		switch {
		case source != "any" && source != "k8s":
			return nil, ""
		case name == ciliumPodNamespace:
			return spaces, nameOf.key
		case strings.HasPrefix(name, ciliumNamespaceLabel):
			return spaces, strings.TrimPrefix(name, ciliumNamespaceLabel)
		case strings.HasPrefix(name, "io.cilium."):
			return nil, ""
		}
		return pods, name
	}
	for key, value := range s.MatchLabels {
		to, name := place(key)
		if to == nil {
			return nil, nil, false
		}
		to.MatchExpressions = append(to.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: name, Operator: metav1.LabelSelectorOpIn, Values: []string{value},
		})
	}
	for _, e := range s.MatchExpressions {
		to, name := place(e.Key)
		if to == nil {
			return nil, nil, false
		}
		to.MatchExpressions = append(to.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: name, Operator: e.Operator, Values: e.Values,
		})
	}
	return spaces, pods, true
}

// ciliumSelects tells whether an endpoint selector picks a pod of the fleet.
func ciliumSelects(f *Fleet, w *access.World, s *metav1.LabelSelector) chance {
	if s == nil {
		return maybe
	}
	spaces, pods, ok := ciliumLabels(s)
	if !ok {
		return maybe
	}
	return min(selectsSpace(f, w, spaces), selects(f, pods))
}
