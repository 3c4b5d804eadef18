// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

const cache = v1alpha1.PortCache

type peer = networkingv1.NetworkPolicyPeer

func ports1(p networkingv1.NetworkPolicyPort) networkingv1.NetworkPolicyIngressRule {
	return networkingv1.NetworkPolicyIngressRule{Ports: []networkingv1.NetworkPolicyPort{p}}
}

func block(cidr string, except ...string) peer {
	return peer{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}}
}

// everyPort is what a rule without ports opens.
const everyPort = "ports 9150, 11211, 11212, 11213"

func wideBy(what string) []string {
	return []string{"NetworkPolicy wide: spec.ingress[" + what}
}

func TestPoliciesByWhomTheyAdmit(t *testing.T) {
	web := matching("app", "web")
	check(t, map[string]row{
		"the fleet's own policy widens nothing":    {},
		"a rule without peers admits everyone":     {wide(rule(cache)), wideBy("0] opens port 11211 to everyone"), ""},
		"a rule without anything opens every port": {wide(rule(0)), wideBy("0] opens " + everyPort + " to everyone"), ""},
		"no rule admits nobody":                    {wide(), nil, ""},
		"an empty namespace selector is every namespace": {
			wide(rule(cache, peer{NamespaceSelector: &metav1.LabelSelector{}})),
			wideBy("0] opens port 11211 to every pod of every namespace"), "",
		},
		"an empty pod selector is this namespace": {
			wide(rule(cache, peer{PodSelector: &metav1.LabelSelector{}})),
			wideBy("0] opens port 11211 to every pod of this namespace"), "",
		},
		"values of selectors are not told": {
			wide(rule(cache, peer{NamespaceSelector: matching(corev1.LabelMetadataName, "secret"), PodSelector: web})),
			wideBy("0] opens port 11211 to pods picked by app of namespaces picked by kubernetes.io/metadata.name"), "",
		},
		"who is admitted already is not admitted more": {
			wide(rule(cache, peer{NamespaceSelector: matching("team", "shop"), PodSelector: web})), nil, "",
		},
		"a narrower selector is not more": {
			wide(rule(cache, peer{
				NamespaceSelector: in("team", "till"),
				PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web", "tier": "front"}},
			})), nil, "",
		},
		"one value more is more": {
			wide(rule(cache, peer{NamespaceSelector: in("team", "shop", "lab"), PodSelector: web})),
			wideBy("0] opens port 11211 to pods picked by app of namespaces picked by team"), "",
		},
		"without the pods' label it is more": {
			wide(rule(cache, peer{NamespaceSelector: matching("team", "shop")})),
			wideBy("0] opens port 11211 to every pod of namespaces picked by team"), "",
		},
		"NotIn admits those without the label": {
			wide(rule(cache, peer{NamespaceSelector: requiring("team", metav1.LabelSelectorOpNotIn, "lab"), PodSelector: web})),
			wideBy("0] opens port 11211 to pods picked by app of namespaces picked by team"), "",
		},
		"Exists is more than a value": {
			wide(rule(cache, peer{NamespaceSelector: requiring("team", metav1.LabelSelectorOpExists), PodSelector: web})),
			wideBy("0] opens port 11211 to pods picked by app of namespaces picked by team"), "",
		},
		"a selector that nothing can meet admits nobody": {
			wide(rule(cache, peer{NamespaceSelector: &metav1.LabelSelector{
				MatchLabels:      map[string]string{"team": "lab"},
				MatchExpressions: requiring("team", metav1.LabelSelectorOpDoesNotExist).MatchExpressions,
			}})), nil, "",
		},
		"no namespace is without its name": {
			wide(rule(cache, peer{NamespaceSelector: requiring(corev1.LabelMetadataName, metav1.LabelSelectorOpDoesNotExist)})),
			nil, "",
		},
		"several of the fleet's clients together cover one": {
			all(func(s *stage) {
				s.fleet.Own = append(s.fleet.Own, rule(cache, peer{
					NamespaceSelector: in("team", "shop", "till"), PodSelector: requiring("app", metav1.LabelSelectorOpNotIn, "web"),
				}))
			}, wide(rule(cache, peer{NamespaceSelector: in("team", "shop", "till")}))), nil, "",
		},
		"the pods of this namespace are clients where its labels say so": {
			all(func(s *stage) { s.world.Namespace["team"] = "till" }, wide(rule(cache, peer{PodSelector: web}))), nil, "",
		},
		"who is admitted at another port is not admitted here": {
			wide(rule(v1alpha1.PortMetrics, peer{NamespaceSelector: matching("team", "shop"), PodSelector: web})),
			wideBy("0] opens port 9150 to pods picked by app of namespaces picked by team"), "",
		},
		"an operator that nobody knows is not passed over": {
			wide(rule(cache, peer{PodSelector: requiring("app", "Like", "w")})), nil,
			"NetworkPolicy wide has a selector that makes no sense",
		},
		"where everyone is admitted to the cache port, the other ports count": {
			all(func(s *stage) { s.fleet.Own = append(s.fleet.Own, rule(cache)) }, wide(rule(0))),
			wideBy("0] opens ports 9150, 11212, 11213 to everyone"), "",
		},
		"the first rule that admits more is told, and how many follow": {
			wide(rule(80), rule(cache), rule(0), rule(cache, block("10.0.0.0/8"))),
			wideBy("1] opens port 11211 to everyone; and 2 more of its rules"), "",
		},
	})
}

func TestPoliciesByAddress(t *testing.T) {
	check(t, map[string]row{
		"addresses are more than pods": {
			wide(rule(cache, block("10.0.0.0/8"))), wideBy("0] opens port 11211 to addresses of 10.0.0.0/8"), "",
		},
		"what is left beside exceptions is more": {
			wide(rule(cache, block("10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/10"))),
			wideBy("0] opens port 11211 to addresses of 10.0.0.0/8 but 2 of its ranges"), "",
		},
		"exceptions that leave nothing admit nobody": {
			wide(rule(cache, block("10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9"))), nil, "",
		},
		"the same with IPv6": {wide(rule(cache, block("::/0", "::/1", "8000::/1"))), nil, ""},
		"a single address is enough": {
			wide(rule(cache, block("2001:db8::1/128"))), wideBy("0] opens port 11211 to addresses of 2001:db8::1/128"), "",
		},
	})
}

func TestPoliciesByPort(t *testing.T) {
	number := func(n int32) *intstr.IntOrString { return new(intstr.FromInt32(n)) }
	name := func(n string) *intstr.IntOrString { return new(intstr.FromString(n)) }
	check(t, map[string]row{
		"another port does not matter":          {wide(rule(8080)), nil, ""},
		"UDP does not matter":                   {wide(ports1(networkingv1.NetworkPolicyPort{Protocol: new(corev1.ProtocolUDP)})), nil, ""},
		"no protocol is TCP":                    {wide(ports1(networkingv1.NetworkPolicyPort{Port: number(cache)})), wideBy("0] opens port 11211 to everyone"), ""},
		"a protocol alone is every port of it":  {wide(ports1(networkingv1.NetworkPolicyPort{Protocol: new(corev1.ProtocolTCP)})), wideBy("0] opens " + everyPort + " to everyone"), ""},
		"a range opens what is in it":           {wide(ports1(networkingv1.NetworkPolicyPort{Port: number(11000), EndPort: new(int32(11212))})), wideBy("0] opens ports 11211, 11212 to everyone"), ""},
		"a range ends before the next port":     {wide(ports1(networkingv1.NetworkPolicyPort{Port: number(9151), EndPort: new(int32(11210))})), nil, ""},
		"a name is the port that pods call so":  {wide(ports1(networkingv1.NetworkPolicyPort{Port: name("metrics")})), wideBy("0] opens port 9150 to everyone"), ""},
		"a name that no pod has does not count": {wide(ports1(networkingv1.NetworkPolicyPort{Port: name("http")})), nil, ""},
		"a name counts where one pod has it": {all(func(s *stage) { s.fleet.Pods[1].Ports[0].Name = "http" },
			wide(ports1(networkingv1.NetworkPolicyPort{Port: name("http")}))), wideBy("0] opens port 11211 to everyone"), ""},
	})
}

func TestPoliciesByWhatTheySelect(t *testing.T) {
	selecting := func(s *metav1.LabelSelector, types ...networkingv1.PolicyType) func(*stage) {
		return func(st *stage) {
			wide(rule(cache))(st)
			p := st.world.Policies[len(st.world.Policies)-1]
			p.Spec.PodSelector, p.Spec.PolicyTypes = *s, types
		}
	}
	ingress, egress := networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress
	opened := wideBy("0] opens port 11211 to everyone")
	check(t, map[string]row{
		"by the fleet's label":                {selecting(matching(v1alpha1.LabelName, "sessions"), ingress), opened, ""},
		"by the label of another fleet":       {selecting(matching(v1alpha1.LabelName, "carts"), ingress), nil, ""},
		"by an ordinal, as Kubernetes labels": {selecting(matching("apps.kubernetes.io/pod-index", "1"), ingress), opened, ""},
		"by a pod's name":                     {selecting(matching("statefulset.kubernetes.io/pod-name", "sessions-0"), ingress), opened, ""},
		"without types":                       {selecting(&metav1.LabelSelector{}), opened, ""},
		"with both types":                     {selecting(&metav1.LabelSelector{}, egress, ingress), opened, ""},
		"for what goes out alone":             {selecting(&metav1.LabelSelector{}, egress), nil, ""},
		"in another namespace":                {all(wide(rule(cache)), func(s *stage) { s.world.Policies[1].Namespace = "shop" }), nil, ""},
	})
}

func TestWhatIsNotSeenIsNotJudged(t *testing.T) {
	check(t, map[string]row{
		"what may not be read is told": {
			func(s *stage) { s.world.Unseen = []string{"Services may not be listed and watched"} }, nil,
			"Services may not be listed and watched",
		},
		"what is seen is told all the same": {
			all(wide(rule(cache)), func(s *stage) { s.world.Unseen = []string{"Services may not be listed and watched"} }),
			wideBy("0] opens port 11211 to everyone"), "Services may not be listed and watched",
		},
		"labels that are not known are no reason to call somebody a client": {
			all(func(s *stage) { s.world.Namespace = nil }, wide(rule(cache, peer{PodSelector: matching("app", "web")}))),
			wideBy("0] opens port 11211 to pods picked by app of this namespace"), "",
		},
	})
}

func TestWordsAreBounded(t *testing.T) {
	long := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for i := range 16 {
		long.MatchLabels[strings.Repeat("k", 60)+fmt.Sprint(i)] = "v"
	}
	s := newStage(wide(rule(cache, peer{PodSelector: long}, peer{NamespaceSelector: long}, block("10.0.0.0/8")), rule(0)))
	got := Judge(&s.fleet, &s.world)
	if len(got.WidenedBy) != 1 || len(got.WidenedBy[0].What) != maxWords ||
		!strings.HasSuffix(got.WidenedBy[0].What, "...; and 1 more of its rules") {
		t.Errorf("said is %+v", got.WidenedBy)
	}
}

func TestAComparisonThatTakesTooLongCountsAsMore(t *testing.T) {
	b := (&box{}).with(dim{key: "a"}, oneOf("x"))
	steps := 0
	if b.beyond([]*box{b}, &steps) == nil {
		t.Error("without a step to spend it is sure")
	}
	steps = maxSteps
	if b.beyond([]*box{b}, &steps) != nil {
		t.Error("a set is more than itself")
	}
}
