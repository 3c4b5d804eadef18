// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// Excess is what a rule of a policy admits beyond the fleet's own policy.
type Excess struct {
	// Policy and Rule, its place in spec.ingress, tell which.
	Policy string
	Rule   int
	// Pod is one of the fleet's that it opens, and Port one of its ports.
	Pod  string
	Port int32
	// Who says in words whom it admits.
	Who string
	// Example is one whom it admits.
	Example Source
}

// Source is who connects.
type Source struct {
	// Namespace and Labels are a pod's namespace's labels and its own; nil for
	// what is no pod.
	Namespace, Labels map[string]string
	// Address is where it is, if it is no pod.
	Address netip.Addr
}

// ofPolicies is what the NetworkPolicies admit beyond the fleet's own, for each
// rule, port, and pod that names its ports as no other before it; and the names
// of those that make no sense. namespace are the labels of the fleet's
// namespace; nil where they are not known.
func ofPolicies(
	f *Fleet, policies []*networkingv1.NetworkPolicy, namespace map[string]string,
) (found []Excess, senseless []string) {
	for _, p := range policies {
		if p.Namespace != f.Namespace || slices.Contains(f.OwnPolicies, p.UID) || !concernsIngress(p) {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil {
			senseless = append(senseless, p.Name)
			continue
		}
		var done []*Pod
		for i := range f.Pods {
			pod := &f.Pods[i]
			alike := func(q *Pod) bool { return slices.Equal(q.Ports, pod.Ports) }
			if !selector.Matches(labels.Set(pod.Labels)) || slices.ContainsFunc(done, alike) {
				continue
			}
			done = append(done, pod)
			for _, port := range ports {
				more, err := beyond(f, p.Spec.Ingress, pod, port, namespace)
				if err != nil {
					senseless = append(senseless, p.Name)
				}
				for _, e := range more {
					e.Policy = p.Name
					found = append(found, e)
				}
			}
		}
	}
	return found, senseless
}

// concernsIngress tells whether a policy says who gets in. One without types does.
func concernsIngress(p *networkingv1.NetworkPolicy) bool {
	return len(p.Spec.PolicyTypes) == 0 || slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
}

// beyond is what rules admit to a pod's port beyond the fleet's own rules.
func beyond(
	f *Fleet, rules []networkingv1.NetworkPolicyIngressRule, pod *Pod, port int32, namespace map[string]string,
) ([]Excess, error) {
	own, everyone := ownPeers(f, pod, port)
	if everyone {
		return nil, nil
	}
	var out []Excess
	for i := range rules {
		if !opens(rules[i].Ports, pod, port) {
			continue
		}
		e := Excess{Rule: i, Pod: pod.Name, Port: port}
		if len(rules[i].From) == 0 {
			e.Who, e.Example = "everyone", Source{Address: somewhere}
			out = append(out, e)
			continue
		}
		var who []string
		for j := range rules[i].From {
			peer := &rules[i].From[j]
			example, err := peerBeyond(f, peer, own, namespace)
			if err != nil {
				return out, err
			}
			if example != nil {
				who, e.Example = append(who, whom(peer)), *example
			}
		}
		if len(who) > 0 {
			e.Who = several(who)
			out = append(out, e)
		}
	}
	return out, nil
}

// somewhere is an address for documentation: nobody in particular.
var somewhere = netip.AddrFrom4([4]byte{192, 0, 2, 1})

// peerBeyond is somebody whom a peer admits and own does not; nil for nobody.
func peerBeyond(
	f *Fleet, peer *networkingv1.NetworkPolicyPeer, own []*box, namespace map[string]string,
) (*Source, error) {
	if peer.IPBlock != nil {
		if a, some := anAddress(peer.IPBlock); some {
			return &Source{Address: a}, nil
		}
		return nil, nil
	}
	b, err := peerBox(f, peer)
	if err != nil {
		return nil, err
	}
	steps := maxSteps
	rest := settled(f, b, namespace).beyond(own, &steps)
	if rest == nil {
		return nil, nil
	}
	s := &Source{}
	s.Namespace, s.Labels = rest.example()
	return s, nil
}

// ownPeers are the pods that the fleet's own rules admit to a port, and whether
// that is everyone. Own rules know no addresses.
func ownPeers(f *Fleet, pod *Pod, port int32) (own []*box, everyone bool) {
	for i := range f.Own {
		rule := &f.Own[i]
		if !opens(rule.Ports, pod, port) {
			continue
		}
		if len(rule.From) == 0 {
			return nil, true
		}
		for j := range rule.From {
			if rule.From[j].IPBlock != nil {
				continue
			}
			if b, err := peerBox(f, &rule.From[j]); err == nil {
				own = append(own, b)
			}
		}
	}
	return own, false
}

// peerBox are the pods that a peer picks.
func peerBox(f *Fleet, peer *networkingv1.NetworkPolicyPeer) (*box, error) {
	b := &box{}
	if peer.NamespaceSelector == nil {
		b = b.with(nameOf, oneOf(f.Namespace))
	}
	b, err := b.require(false, peer.NamespaceSelector)
	if err != nil {
		return nil, err
	}
	return b.require(true, peer.PodSelector)
}

// settled is a box of the fleet's own namespace alone with what is known of that
// one's labels; any other stays as it is.
func settled(f *Fleet, b *box, namespace map[string]string) *box {
	if name := b.at(nameOf); namespace == nil || name.but || len(name.list) != 1 || name.list[0] != f.Namespace {
		return b
	}
	out := &box{known: true}
	for key, value := range namespace {
		out = out.with(dim{key: key}, oneOf(value))
	}
	for d, v := range b.sets {
		if d != nameOf {
			out = out.with(d, out.at(d).and(v))
		}
	}
	return out.with(nameOf, oneOf(f.Namespace))
}

// opens tells whether a rule's ports have a pod's port among them.
func opens(list []networkingv1.NetworkPolicyPort, pod *Pod, port int32) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(p networkingv1.NetworkPolicyPort) bool {
		switch {
		case p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP:
			return false
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			return pod.names(p.Port.StrVal, port)
		case p.EndPort != nil:
			return p.Port.IntVal <= port && port <= *p.EndPort
		}
		return p.Port.IntVal == port
	})
}

// names tells whether the pod calls a port by a name.
func (p *Pod) names(name string, port int32) bool {
	return slices.ContainsFunc(p.Ports, func(q Port) bool { return q.TCP && q.Name == name && q.Number == port })
}

// Policies is what NetworkPolicies of the fleet's namespace admit to its pods
// beyond its own, rule by rule. namespace are that namespace's labels; nil where
// they are not known.
func Policies(f *Fleet, policies []*networkingv1.NetworkPolicy, namespace map[string]string) []Excess {
	found, _ := ofPolicies(f, policies, namespace)
	return found
}

// policyFindings names each policy once, with its first rule that admits more.
func policyFindings(
	f *Fleet, policies []*networkingv1.NetworkPolicy, namespace map[string]string,
) (out []Finding, senseless []string) {
	found, senseless := ofPolicies(f, policies, namespace)
	byName := map[string][]Excess{}
	for _, e := range found {
		byName[e.Policy] = append(byName[e.Policy], e)
	}
	for name, list := range byName {
		out = append(out, Finding{
			Reason: v1alpha1.ReasonWidenedByPolicy, severity: admitted,
			Widening: v1alpha1.Widening{Kind: "NetworkPolicy", Name: name, What: told("spec.ingress", list)},
		})
	}
	return out, senseless
}
