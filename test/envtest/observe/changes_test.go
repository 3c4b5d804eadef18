// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/controllers/access"
)

func service(namespace, name string, externalIPs ...string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 11211}}, ExternalIPs: externalIPs},
	}
}

func slice(namespace, name, service, address string) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: namespace, Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}}},
	}
}

func TestAChangeConcernsTheFleetsItIsAboutAndNoOther(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	shop := space(t, "shop-", map[string]string{"shop": "yes"})
	other := space(t, "other-", nil)
	far := s.fleet("far", peer("shop=yes", ""))
	far.Namespace = other
	s.Track(verified(s.fleet("a", peer("shop=yes", "app=web"))), []string{"192.0.2.21"})
	s.Track(s.fleet("b", peer("b=yes", "")), []string{"192.0.2.22"})
	s.Track(far, nil)
	s.around("a", anything)
	s.concerned()

	change := func(o client.Object, edit func()) func() {
		return func() {
			before := o.DeepCopyObject().(client.Object)
			edit()
			if err := kube.Patch(t.Context(), o, client.MergeFrom(before)); err != nil {
				t.Fatal(err)
			}
		}
	}
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: s.namespace}}
	elsewhere := service(other, "elsewhere")
	n := &corev1.Namespace{}
	if err := kube.Get(t.Context(), client.ObjectKey{Name: other}, n); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name        string
		do          func()
		want, tells []string
	}{
		{"a policy of the fleets' namespace", func() { create(t, policy) }, []string{"a", "b"}, nil},
		{"its annotation", change(policy, func() { policy.Annotations = map[string]string{"a": "b"} }), nil, nil},
		{"its rules", change(policy, func() { policy.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}} }), []string{"a", "b"}, nil},
		{"a policy of another's namespace", func() {
			create(t, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: shop}})
		}, nil, nil},
		{"a Service elsewhere", func() { create(t, service(shop, "s")) }, nil, nil},
		{"a Service elsewhere that takes an address", func() { create(t, service(shop, "s2", "192.0.2.22")) }, []string{"b"}, nil},
		{"a slice elsewhere", func() { create(t, slice(shop, "e", "s", "192.0.2.99")) }, nil, nil},
		{"a slice elsewhere with an address", func() { create(t, slice(other, "e", "elsewhere", "192.0.2.21")) }, []string{"a"}, nil},
		{"its Service", func() { create(t, elsewhere) }, []string{"a", "far"}, nil},
		{"its Service's type", change(elsewhere, func() { elsewhere.Spec.Type = corev1.ServiceTypeNodePort }), []string{"a", "far"}, nil},
		{"a slice of the ring's Service", func() { create(t, slice(s.namespace, "e", "b", "192.0.2.99")) }, []string{"b"}, nil},
		{"a slice of the ready Service", func() { create(t, slice(s.namespace, "e2", "b-ready", "192.0.2.99")) }, []string{"b"}, nil},
		{"a slice of a like-named Service", func() { create(t, slice(s.namespace, "e3", "b-x", "192.0.2.99")) }, nil, nil},
		{"a client's pod", func() { pod(t, shop, "web", "192.0.2.30", map[string]string{"app": "web"}) }, []string{"a"}, []string{"a"}},
		{"another pod there", func() { pod(t, shop, "db", "192.0.2.31", map[string]string{"app": "db"}) }, nil, nil},
		{"a namespace that gets a client's label", change(n, func() { n.Labels["shop"] = "yes" }), []string{"a", "far"}, []string{"a", "far"}},
		{"a namespace that gets another label", change(n, func() { n.Labels["x"] = "yes" }), []string{"far"}, nil},
	} {
		row.do()
		got, told := s.concerned()
		if !slices.Equal(got, row.want) || !slices.Equal(told, row.tells) {
			t.Errorf("%s: reconciled are %v, want %v; told of clients are %v, want %v",
				row.name, got, row.want, told, row.tells)
		}
	}
}

// It runs alone: a kind that comes concerns every fleet.
func TestPoliciesOfOtherKindsAreFoundWhenTheirKindComes(t *testing.T) {
	s := newStage(t)
	s.Track(s.fleet("a"), nil)
	s.around("a", anything)
	definition := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "ciliumnetworkpolicies.cilium.io"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "cilium.io", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Plural: "ciliumnetworkpolicies", Kind: "CiliumNetworkPolicy", ListKind: "CiliumNetworkPolicyList",
			},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v2", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: new(true),
				}},
			}},
		},
	}
	create(t, definition)
	cilium := func(namespace string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{
			"spec":  map[string]any{"endpointSelector": map[string]any{}},
			"specs": []any{map[string]any{"ingress": []any{}}},
		}}
		u.SetGroupVersionKind(schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumNetworkPolicy"})
		u.SetName("p")
		u.SetNamespace(namespace)
		return u
	}
	s.wait("the kind is served", func() string {
		if err := kube.Create(t.Context(), cilium(s.namespace)); err != nil {
			return err.Error()
		}
		return ""
	})
	create(t, cilium(space(t, "other-", nil)))
	w := s.around("a", func(w *access.World) string {
		if len(w.Foreign) != 2 || len(w.Unseen) > 0 {
			return "not seen"
		}
		return ""
	})
	if f := w.Foreign[0]; f.Kind != "CiliumNetworkPolicy" || f.Namespace != s.namespace || f.Name != "p" || f.Spec == nil {
		t.Errorf("%+v", f)
	}
	if err := kube.Delete(t.Context(), definition); err != nil {
		t.Fatal(err)
	}
	s.around("a", func(w *access.World) string {
		if len(w.Foreign) != 0 || len(w.Unseen) > 0 {
			return "still seen"
		}
		return ""
	})
}
