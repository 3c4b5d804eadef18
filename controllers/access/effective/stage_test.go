// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
)

// stage is a fleet of two, caches/sessions, whose clients are the pods web of
// namespaces with team in (shop, till); and what there is around it.
type stage struct {
	fleet Fleet
	world access.World
}

func newStage(change func(*stage)) *stage {
	s := &stage{
		fleet: Fleet{
			Namespace: "caches", Name: "sessions", OwnPolicies: []types.UID{"own"}, Addresses: []string{"10.96.0.9"},
			Own: []networkingv1.NetworkPolicyIngressRule{rule(v1alpha1.PortCache, networkingv1.NetworkPolicyPeer{
				NamespaceSelector: in("team", "shop", "till"), PodSelector: matching("app", "web"),
			})},
		},
		world: access.World{Namespace: map[string]string{corev1.LabelMetadataName: "caches", "team": "data"}},
	}
	for i := range 2 {
		s.fleet.Pods = append(s.fleet.Pods, Pod{
			Name: fmt.Sprintf("sessions-%d", i), Addresses: []string{fmt.Sprintf("10.1.0.%d", i+1)},
			Labels: map[string]string{
				v1alpha1.LabelName: "sessions", "apps.kubernetes.io/pod-index": fmt.Sprint(i),
				"controller-revision-hash": "abc", "statefulset.kubernetes.io/pod-name": fmt.Sprintf("sessions-%d", i),
			},
			Ports: []Port{
				{Name: "memcache", Number: v1alpha1.PortCache, TCP: true}, {Name: "metrics", Number: v1alpha1.PortMetrics, TCP: true},
				{Name: "control", Number: v1alpha1.PortControl, TCP: true},
			},
		})
	}
	own := policy("sessions", func(p *networkingv1.NetworkPolicy) { p.UID, p.Spec.Ingress = "own", s.fleet.Own })
	s.world.Policies = append(s.world.Policies, own)
	if change != nil {
		change(s)
	}
	return s
}

func matching(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func requiring(key string, op metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
	return &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: op, Values: values}},
	}
}

func in(key string, values ...string) *metav1.LabelSelector {
	return requiring(key, metav1.LabelSelectorOpIn, values...)
}

// rule is for one port; 0 for all.
func rule(port int32, from ...networkingv1.NetworkPolicyPeer) networkingv1.NetworkPolicyIngressRule {
	r := networkingv1.NetworkPolicyIngressRule{From: from}
	if port != 0 {
		r.Ports = []networkingv1.NetworkPolicyPort{{Protocol: new(corev1.ProtocolTCP), Port: new(intstr.FromInt32(port))}}
	}
	return r
}

// policy selects every pod of the fleet's namespace.
func policy(name string, change func(*networkingv1.NetworkPolicy)) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{}
	p.Namespace, p.Name, p.UID = "caches", name, types.UID(name)
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	change(p)
	return p
}

// wide adds a policy with these rules.
func wide(rules ...networkingv1.NetworkPolicyIngressRule) func(*stage) {
	return func(s *stage) {
		s.world.Policies = append(s.world.Policies,
			policy("wide", func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress = rules }))
	}
}

// service adds a Service that leads to the fleet by its label.
func service(change func(*corev1.Service)) func(*stage) {
	return func(s *stage) {
		out := &corev1.Service{}
		out.Namespace, out.Name = "caches", "door"
		out.Spec = corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{v1alpha1.LabelName: "sessions"},
			Ports: []corev1.ServicePort{{Port: 21211, TargetPort: intstr.FromString("memcache")}},
		}
		change(out)
		s.world.Services = append(s.world.Services, out)
	}
}

// slice adds a slice of a Service with these addresses, at the cache port.
func slice(namespace, service string, change func(*discoveryv1.EndpointSlice), addresses ...string) func(*stage) {
	return func(s *stage) {
		out := &discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{Port: new(int32(v1alpha1.PortCache))}}}
		out.Namespace, out.Name = namespace, "planted"
		out.Labels = map[string]string{discoveryv1.LabelServiceName: service}
		for _, a := range addresses {
			out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
		}
		if change != nil {
			change(out)
		}
		s.world.Slices = append(s.world.Slices, out)
	}
}

// foreign adds a policy of another kind; its namespace is the fleet's.
func foreign(group, kind string, spec map[string]any) func(*stage) {
	return func(s *stage) {
		s.world.Foreign = append(s.world.Foreign, access.Foreign{
			Group: group, Kind: kind, Namespace: "caches", Name: "other", Spec: spec,
		})
	}
}

func all(changes ...func(*stage)) func(*stage) {
	return func(s *stage) {
		for _, c := range changes {
			c(s)
		}
	}
}

// row is a world and what is to be said of it: each object that widens as
// "kind name: what", and whether something is not judged.
type row struct {
	change    func(*stage)
	want      []string
	notJudged string
}

func check(t *testing.T, rows map[string]row) {
	t.Helper()
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			s := newStage(r.change)
			got := Judge(&s.fleet, &s.world)
			var said []string
			for i := range got.WidenedBy {
				w := &got.WidenedBy[i]
				if len(w.What) > maxWords || w.Reason == "" {
					t.Errorf("reason %q, and %d bytes of words", w.Reason, len(w.What))
				}
				said = append(said, w.Kind+" "+w.Name+": "+w.What)
			}
			if fmt.Sprintf("%q", said) != fmt.Sprintf("%q", r.want) {
				t.Errorf("said is\n%q\nand should be\n%q", said, r.want)
			}
			unclear := ""
			if len(got.NotJudged) > 0 {
				unclear = got.NotJudged[0]
			}
			if unclear != r.notJudged {
				t.Errorf("not judged is %q and should be %q", got.NotJudged, r.notJudged)
			}
		})
	}
}
