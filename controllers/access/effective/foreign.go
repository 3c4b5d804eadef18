// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
)

// answer is what can be said of a policy of another kind.
type answer struct {
	// widens are its rules that admit more.
	widens []Excess
	// unclear says why it cannot be judged; empty where it can.
	unclear string
}

func unclear(format string, args ...any) answer { return answer{unclear: fmt.Sprintf(format, args...)} }

// foreignFindings judges the policies of kinds that other projects brought.
// Those that cannot select the fleet, and those that only forbid, do not matter;
// of the others that can be judged is told what they admit.
func foreignFindings(f *Fleet, w *access.World) (out []Finding, unknown []string) {
	for i := range w.Foreign {
		p := &w.Foreign[i]
		if p.Namespace != "" && p.Namespace != f.Namespace || shown(p) {
			continue
		}
		a := ofForeign(f, w, p)
		switch {
		case len(a.widens) > 0:
			out = append(out, Finding{
				Reason: v1alpha1.ReasonWidenedByPolicy, severity: admitted,
				Widening: v1alpha1.Widening{Kind: p.Kind, Name: p.Name, What: told("ingress", a.widens)},
			})
		case a.unclear != "":
			unknown = append(unknown, fmt.Sprintf("%s.%s %s: %s", p.Kind, p.Group, p.Name, a.unclear))
		}
	}
	return out, unknown
}

// shown tells whether a policy is but another view of one that is judged as
// what it is: Calico's own API shows Kubernetes' policies among its own.
func shown(p *access.Foreign) bool {
	return p.Group == "projectcalico.org" && slices.ContainsFunc([]string{
		"knp.default.", "kcnp.", "kanp.adminnetworkpolicy.", "kbanp.baselineadminnetworkpolicy.",
	}, func(prefix string) bool { return strings.HasPrefix(p.Name, prefix) })
}

func ofForeign(f *Fleet, w *access.World, p *access.Foreign) answer {
	rules, ok := ingressOf(p)
	switch {
	case !ok:
		return unclear("its ingress cannot be read")
	case len(rules) == 0 || forbids(rules):
		return answer{}
	}
	switch p.Group {
	case "cilium.io":
		return ofCilium(f, w, p)
	case "policy.networking.k8s.io":
		return ofAdmin(f, w, p)
	case "networking.k8s.aws":
		if p.Kind == "ClusterNetworkPolicy" {
			return ofAdmin(f, w, p)
		}
		return ofApplication(f, p)
	case "crd.projectcalico.org", "projectcalico.org":
		if types, ok := p.Spec["types"].([]any); ok && len(types) > 0 && !slices.Contains(types, any("Ingress")) {
			return answer{}
		}
	}
	return unclear("this operator does not judge policies of this kind that admit")
}

// ingressOf are the rules of a policy that say who gets in.
func ingressOf(p *access.Foreign) ([]any, bool) {
	if p.Spec == nil {
		return nil, false
	}
	field, there := p.Spec["ingress"]
	if !there || field == nil {
		return nil, true
	}
	rules, ok := field.([]any)
	return rules, ok
}

// forbids tells whether every rule has an action, and none of them admits.
func forbids(rules []any) bool {
	return !slices.ContainsFunc(rules, func(rule any) bool {
		fields, _ := rule.(map[string]any)
		action, _ := fields["action"].(string)
		return !slices.Contains([]string{"deny", "drop", "reject"}, strings.ToLower(action))
	})
}

// decode reads a specification strictly: a field that is not known may change
// what the others mean.
func decode(spec map[string]any, into any) error {
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(spec, into, true)
	if err != nil {
		return fmt.Errorf("read specification: %w", err)
	}
	return nil
}

// ofApplication judges a policy that selects pods as a NetworkPolicy does.
func ofApplication(f *Fleet, p *access.Foreign) answer {
	var spec struct {
		PodSelector metav1.LabelSelector `json:"podSelector"`
		PolicyTypes []string             `json:"policyTypes"`
		Ingress     []any                `json:"ingress"`
		Egress      []any                `json:"egress"`
	}
	if decode(p.Spec, &spec) != nil {
		return unclear("it has fields that this operator does not know")
	}
	if selects(f, &spec.PodSelector) == never ||
		len(spec.PolicyTypes) > 0 && !slices.Contains(spec.PolicyTypes, "Ingress") {
		return answer{}
	}
	return unclear("this operator does not judge policies of this kind that admit")
}

// chance is whether something is so.
type chance int

const (
	never chance = iota
	maybe
	always
)

// selects tells whether a selector picks a pod of the fleet.
func selects(f *Fleet, s *metav1.LabelSelector) chance {
	if s == nil {
		return always
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return maybe
	}
	for i := range f.Pods {
		if selector.Matches(labels.Set(f.Pods[i].Labels)) {
			return always
		}
	}
	return never
}

// selectsSpace tells whether a selector picks the fleet's namespace.
func selectsSpace(f *Fleet, w *access.World, s *metav1.LabelSelector) chance {
	if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return always
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	switch {
	case err != nil:
		return maybe
	case w.Namespace == nil:
		// The name is known in any case.
		b, err := (&box{}).with(nameOf, oneOf(f.Namespace)).require(false, s)
		if err != nil || !b.empty() {
			return maybe
		}
		return never
	case selector.Matches(labels.Set(w.Namespace)):
		return always
	}
	return never
}

// excess is what somebody is given at those of the fleet's ports that open says,
// and that are not open to everyone anyhow.
func excess(rule int, who string, open func(pod *Pod, port int32) bool, f *Fleet) []Excess {
	var out []Excess
	for i := range f.Pods {
		for _, port := range ports {
			if _, everyone := ownPeers(f, &f.Pods[i], port); !everyone && open(&f.Pods[i], port) {
				out = append(out, Excess{Rule: rule, Pod: f.Pods[i].Name, Port: port, Who: who})
			}
		}
	}
	return out
}

// isTCP tells whether a protocol, where one is named, includes TCP.
func isTCP(protocol string) bool {
	p := strings.ToUpper(cmp.Or(protocol, string(corev1.ProtocolTCP)))
	return p == string(corev1.ProtocolTCP) || p == "ANY"
}
