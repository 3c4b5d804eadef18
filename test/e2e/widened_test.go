// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
)

const (
	effectiveNS = "e2e-effective"
	// verdictLimit is how long the operator may take to say what an object does.
	verdictLimit = 10 * time.Second
	// noVerdict is how long it is waited for a verdict that must not come.
	noVerdict = 3 * time.Second
)

// planted is an object beside a fleet, and whether it lets strangers in.
type planted struct {
	what   string
	object client.Object
	// kind is what status calls it.
	kind string
	lets bool
	// where is the address at which a stranger tries; the pod's own where it is nil.
	where func(client.Object) string
}

func beside(name string, rule networkingv1.NetworkPolicyIngressRule) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{memkeepv1alpha1.LabelName: "sessions"}},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{rule},
	}}
	p.Namespace, p.Name = effectiveNS, name
	return p
}

func ciliumBeside(name string, rule map[string]any) *unstructured.Unstructured {
	p := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
		"spec": map[string]any{
			"endpointSelector": map[string]any{"matchLabels": map[string]any{memkeepv1alpha1.LabelName: "sessions"}},
			"ingress":          []any{rule},
		},
	}}
	p.SetNamespace(effectiveNS)
	p.SetName(name)
	return p
}

// besides are what is planted, one after the other.
func besides() []planted {
	from := func(namespace string) []networkingv1.NetworkPolicyPeer {
		return []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{
			MatchLabels: map[string]string{corev1.LabelMetadataName: namespace},
		}}}
	}
	ports := func(first intstr.IntOrString, last int32) []networkingv1.NetworkPolicyPort {
		p := networkingv1.NetworkPolicyPort{Port: &first}
		if last != 0 {
			p.EndPort = &last
		}
		return []networkingv1.NetworkPolicyPort{p}
	}
	clients := []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{
		MatchLabels: harness.ClientLabels(effectiveNS, "sessions"),
	}}}
	service := &corev1.Service{Spec: corev1.ServiceSpec{
		Selector: map[string]string{memkeepv1alpha1.LabelName: "sessions"},
		Ports:    []corev1.ServicePort{{Port: 21211, TargetPort: intstr.FromString("memcache")}},
	}}
	service.Namespace, service.Name = effectiveNS, "inside"
	return []planted{
		{what: "a policy for strangers, at a port by its name", kind: "NetworkPolicy", lets: true,
			object: beside("by-name", networkingv1.NetworkPolicyIngressRule{
				From: from(strangerNS), Ports: ports(intstr.FromString("memcache"), 0),
			})},
		{what: "a policy for everyone, for a range of ports up to the cache's", kind: "NetworkPolicy", lets: true,
			object: beside("to-the-port", networkingv1.NetworkPolicyIngressRule{
				Ports: ports(intstr.FromInt32(11000), 11211),
			})},
		{what: "a policy for everyone, for a range of ports that ends before", kind: "NetworkPolicy",
			object: beside("before-the-port", networkingv1.NetworkPolicyIngressRule{
				Ports: ports(intstr.FromInt32(10000), 11210),
			})},
		{what: "a policy for who is a client already", kind: "NetworkPolicy",
			object: beside("for-clients", networkingv1.NetworkPolicyIngressRule{
				From: clients, Ports: ports(intstr.FromInt32(11211), 0),
			})},
		{what: "Cilium's policy for every pod", kind: "CiliumNetworkPolicy", lets: true,
			object: ciliumBeside("cluster", map[string]any{
				"fromEntities": []any{"cluster"},
				"toPorts":      []any{map[string]any{"ports": []any{map[string]any{"port": "11211", "protocol": "TCP"}}}},
			})},
		{what: "Cilium's policy with a rule that says nothing", kind: "CiliumNetworkPolicy",
			object: ciliumBeside("nothing", map[string]any{})},
		{what: "a Service within the cluster", kind: "Service", object: service,
			where: func(o client.Object) string {
				return net.JoinHostPort(o.(*corev1.Service).Spec.ClusterIP, strconv.Itoa(21211))
			}},
	}
}

// theVerdictIsWhatStrangersFind plants objects beside a fleet. What the operator
// says of each must be what a stranger finds who dials.
func theVerdictIsWhatStrangersFind(t *testing.T) {
	t.Helper()
	key := client.ObjectKey{Namespace: effectiveNS, Name: "sessions"}
	namespace(t, key.Namespace)
	pods := create(t, harness.NewFleet(key.Namespace, key.Name, 1))
	stranger, decoy := strangerTo(&pods[0])
	verdict(t, key, nil)
	for _, p := range besides() {
		addr := harness.CacheAddress(&pods[0])
		check(t, cluster.Create(t.Context(), p.object))
		if p.where != nil {
			addr = p.where(p.object)
		}
		if p.lets {
			took := verdict(t, key, &p)
			opened, err := cluster.LetIn(t.Context(), stranger, addr, policyLimit)
			check(t, err)
			t.Logf("%s: named after %.1f s, a stranger in after %.1f s more", p.what, took.Seconds(), opened.Seconds())
		} else {
			time.Sleep(noVerdict)
			verdict(t, key, nil)
			_, err := cluster.KeptOut(t.Context(), stranger, decoy, addr, policyLimit)
			check(t, err)
			t.Logf("%s: not named, and strangers stay out", p.what)
		}
		check(t, cluster.Delete(t.Context(), p.object))
		verdict(t, key, nil)
		_, err := cluster.KeptOut(t.Context(), stranger, decoy, harness.CacheAddress(&pods[0]), policyLimit)
		check(t, err)
	}
}

// verdict waits until the fleet's status names an object, or, for nil, none.
func verdict(t *testing.T, key client.ObjectKey, p *planted) time.Duration {
	t.Helper()
	what := "access is as configured"
	if p != nil {
		what = p.what + " is named"
	}
	took, err := cluster.Eventually(t.Context(), what, verdictLimit, func(ctx context.Context) error {
		mc := &memkeepv1alpha1.Memcache{}
		if err := cluster.Get(ctx, key, mc); err != nil {
			return err
		}
		c := meta.FindStatusCondition(mc.Status.Conditions, memkeepv1alpha1.ConditionAccessWidened)
		switch {
		case c == nil || mc.Status.Access == nil:
			return fmt.Errorf("nothing is said yet")
		case p == nil && (c.Status != metav1.ConditionFalse || len(mc.Status.Access.WidenedBy) > 0),
			p != nil && (c.Status != metav1.ConditionTrue ||
				!slices.ContainsFunc(mc.Status.Access.WidenedBy, func(w memkeepv1alpha1.Widening) bool {
					return w.Kind == p.kind && w.Name == p.object.GetName()
				})):
			return fmt.Errorf("it is %s %s: %s", c.Status, c.Reason, c.Message)
		}
		return nil
	})
	check(t, err)
	return took
}
