// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/memkeep/memkeep/controllers/access"
)

// adminSpec is what AdminNetworkPolicy, BaselineAdminNetworkPolicy and
// ClusterNetworkPolicy have in common.
type adminSpec struct {
	Tier     string      `json:"tier"`
	Priority int64       `json:"priority"`
	Subject  adminPeer   `json:"subject"`
	Ingress  []adminRule `json:"ingress"`
	Egress   []any       `json:"egress"`
}

type adminRule struct {
	Name      string          `json:"name"`
	Action    string          `json:"action"`
	From      []adminPeer     `json:"from"`
	Ports     []adminPort     `json:"ports"`
	Protocols []adminProtocol `json:"protocols"`
}

type adminPeer struct {
	Namespaces *metav1.LabelSelector `json:"namespaces"`
	Pods       *struct {
		NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`
		PodSelector       metav1.LabelSelector `json:"podSelector"`
	} `json:"pods"`
}

type adminPort struct {
	PortNumber *struct {
		Protocol string `json:"protocol"`
		Port     int32  `json:"port"`
	} `json:"portNumber"`
	NamedPort *string `json:"namedPort"`
	PortRange *struct {
		Protocol string `json:"protocol"`
		Start    int32  `json:"start"`
		End      int32  `json:"end"`
	} `json:"portRange"`
}

type adminProtocol struct {
	TCP *struct {
		DestinationPort *struct {
			Number int32 `json:"number"`
			Range  *struct {
				Start int32 `json:"start"`
				End   int32 `json:"end"`
			} `json:"range"`
		} `json:"destinationPort"`
	} `json:"tcp"`
	UDP                  map[string]any `json:"udp"`
	SCTP                 map[string]any `json:"sctp"`
	DestinationNamedPort string         `json:"destinationNamedPort"`
}

// ofAdmin judges a policy of the cluster's administrators. One of the baseline
// counts only where no NetworkPolicy selects a pod. One that forbids, or passes
// on, before another admits, may be in the way of that one: which of them wins
// is not worked out.
func ofAdmin(f *Fleet, w *access.World, p *access.Foreign) answer {
	var spec adminSpec
	if decode(p.Spec, &spec) != nil {
		return unclear("it has fields that this operator does not know")
	}
	if (spec.Tier == "Baseline" || p.Kind == "BaselineAdminNetworkPolicy") && selectedByOwn(f, w) {
		return answer{}
	}
	chosen := spec.Subject.selects(f, w)
	if chosen == never {
		return answer{}
	}
	var more []Excess
	hindered := otherForbids(w, p)
	for i := range spec.Ingress {
		rule := &spec.Ingress[i]
		switch rule.Action {
		case "Allow", "Accept":
		case "Deny", "Pass":
			hindered = hindered || len(more) == 0
			continue
		default:
			return unclear("it has the action %s, which this operator does not know", rule.Action)
		}
		found, ok := rule.beyond(f, w, i)
		if !ok {
			return unclear("rule %d cannot be read", i)
		}
		more = append(more, found...)
	}
	switch {
	case len(more) == 0:
		return answer{}
	case chosen == maybe:
		return unclear("whether it selects the fleet's pods is not known")
	case hindered:
		return unclear("it admits, and whether another rule forbids before it does is not worked out")
	}
	return answer{widens: more}
}

// beyond is what a rule admits beyond the fleet's own policy.
func (r *adminRule) beyond(f *Fleet, w *access.World, place int) ([]Excess, bool) {
	var peers []networkingv1.NetworkPolicyPeer
	for _, from := range r.From {
		switch {
		case from.Namespaces != nil:
			peers = append(peers, networkingv1.NetworkPolicyPeer{NamespaceSelector: from.Namespaces})
		case from.Pods != nil:
			peers = append(peers, networkingv1.NetworkPolicyPeer{
				NamespaceSelector: &from.Pods.NamespaceSelector, PodSelector: &from.Pods.PodSelector,
			})
		default:
			return nil, false
		}
	}
	if len(peers) == 0 {
		return nil, false
	}
	var out []Excess
	for i := range f.Pods {
		for _, port := range ports {
			if !r.opens(&f.Pods[i], port) {
				continue
			}
			found, err := beyond(f, []networkingv1.NetworkPolicyIngressRule{{From: peers}}, &f.Pods[i], port, w.Namespace)
			if err != nil {
				return nil, false
			}
			for _, e := range found {
				e.Rule = place
				out = append(out, e)
			}
		}
	}
	return out, true
}

// opens tells whether the rule is for a pod's port.
func (r *adminRule) opens(pod *Pod, port int32) bool {
	if len(r.Ports)+len(r.Protocols) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Ports, func(p adminPort) bool {
		switch {
		case p.PortNumber != nil:
			return isTCP(p.PortNumber.Protocol) && p.PortNumber.Port == port
		case p.PortRange != nil:
			return isTCP(p.PortRange.Protocol) && p.PortRange.Start <= port && port <= p.PortRange.End
		case p.NamedPort != nil:
			return pod.names(*p.NamedPort, port)
		}
		return true
	}) || slices.ContainsFunc(r.Protocols, func(p adminProtocol) bool {
		switch {
		case p.TCP != nil && p.TCP.DestinationPort != nil && p.TCP.DestinationPort.Range != nil:
			return p.TCP.DestinationPort.Range.Start <= port && port <= p.TCP.DestinationPort.Range.End
		case p.TCP != nil && p.TCP.DestinationPort != nil:
			return p.TCP.DestinationPort.Number == port
		case p.DestinationNamedPort != "":
			return pod.names(p.DestinationNamedPort, port)
		}
		return p.UDP == nil && p.SCTP == nil
	})
}

// selects tells whether the subject of a policy has a pod of the fleet in it.
func (s *adminPeer) selects(f *Fleet, w *access.World) chance {
	switch {
	case s.Namespaces != nil:
		return selectsSpace(f, w, s.Namespaces)
	case s.Pods != nil:
		return min(selectsSpace(f, w, &s.Pods.NamespaceSelector), selects(f, &s.Pods.PodSelector))
	}
	return maybe
}

// selectedByOwn tells whether the fleet's own policy is there.
func selectedByOwn(f *Fleet, w *access.World) bool {
	return slices.ContainsFunc(w.Policies, func(p *networkingv1.NetworkPolicy) bool {
		return slices.Contains(f.OwnPolicies, p.UID)
	})
}

// otherForbids tells whether another policy of administrators has a rule that
// does not admit.
func otherForbids(w *access.World, than *access.Foreign) bool {
	return slices.ContainsFunc(w.Foreign, func(p access.Foreign) bool {
		if p.Group != than.Group || p.Kind == than.Kind && p.Name == than.Name {
			return false
		}
		rules, ok := ingressOf(&p)
		return !ok || slices.ContainsFunc(rules, func(rule any) bool {
			fields, _ := rule.(map[string]any)
			return fields["action"] != "Allow" && fields["action"] != "Accept"
		})
	})
}
