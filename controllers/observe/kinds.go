// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/memkeep/memkeep/controllers/access"
)

// +kubebuilder:rbac:groups="",resources=namespaces;pods;services,verbs=list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list;watch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=list;watch

// Indexes of the stores.
const (
	byNamespace = cache.NamespaceIndex
	byAddress   = "address"
	byService   = "service"
)

// bare keeps of an object's metadata what tells which object it is.
func bare(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, Generation: m.Generation,
	}
}

func stripNamespace(in any) (any, error) {
	if n, ok := in.(*corev1.Namespace); ok {
		meta := bare(&n.ObjectMeta)
		meta.Labels = n.Labels
		return &corev1.Namespace{ObjectMeta: meta}, nil
	}
	return in, nil
}

func stripPolicy(in any) (any, error) {
	if p, ok := in.(*networkingv1.NetworkPolicy); ok {
		return &networkingv1.NetworkPolicy{ObjectMeta: bare(&p.ObjectMeta), Spec: p.Spec}, nil
	}
	return in, nil
}

func stripService(in any) (any, error) {
	if s, ok := in.(*corev1.Service); ok {
		meta := bare(&s.ObjectMeta)
		meta.OwnerReferences = s.OwnerReferences
		out := &corev1.Service{ObjectMeta: meta, Spec: s.Spec}
		out.Status.LoadBalancer.Ingress = s.Status.LoadBalancer.Ingress
		return out, nil
	}
	return in, nil
}

func stripSlice(in any) (any, error) {
	s, ok := in.(*discoveryv1.EndpointSlice)
	if !ok {
		return in, nil
	}
	out := &discoveryv1.EndpointSlice{ObjectMeta: bare(&s.ObjectMeta), AddressType: s.AddressType, Ports: s.Ports}
	if service := s.Labels[discoveryv1.LabelServiceName]; service != "" {
		out.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	}
	out.Endpoints = make([]discoveryv1.Endpoint, len(s.Endpoints))
	for i := range s.Endpoints {
		out.Endpoints[i] = discoveryv1.Endpoint{
			Addresses: s.Endpoints[i].Addresses, Conditions: s.Endpoints[i].Conditions,
		}
	}
	return out, nil
}

// podRecord is what is kept of a pod; there may be very many.
type podRecord struct {
	metav1.ObjectMeta
	pod access.Pod
}

func stripPod(in any) (any, error) {
	p, ok := in.(*corev1.Pod)
	if !ok {
		return in, nil
	}
	out := &podRecord{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion,
		},
		pod: access.Pod{
			Namespace: p.Namespace, Name: p.Name, UID: p.UID, Labels: p.Labels,
			HostNetwork: p.Spec.HostNetwork,
			Ended:       p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		},
	}
	for _, ip := range p.Status.PodIPs {
		out.pod.Addresses = append(out.pod.Addresses, access.Address(ip.IP))
	}
	return out, nil
}

// stripForeign keeps the specification of a policy of any shape.
func stripForeign(in any) (any, error) {
	if o, ok := in.(interface {
		SetManagedFields([]metav1.ManagedFieldsEntry)
	}); ok {
		o.SetManagedFields(nil)
	}
	if o, ok := in.(runtime.Unstructured); ok {
		content := o.UnstructuredContent()
		delete(content, "status")
		if meta, ok := content["metadata"].(map[string]any); ok {
			delete(meta, "annotations")
		}
	}
	return in, nil
}

// sliceAddresses are the addresses of an EndpointSlice.
func sliceAddresses(s *discoveryv1.EndpointSlice) []string {
	var out []string
	for i := range s.Endpoints {
		for _, a := range s.Endpoints[i].Addresses {
			out = append(out, access.Address(a))
		}
	}
	return out
}

func index(of func(any) []string) cache.IndexFunc {
	return func(o any) ([]string, error) { return of(o), nil }
}

// kinds describes the kinds that Kubernetes itself has.
func (o *Observer) kinds() map[string]kind {
	space := cache.Indexers{byNamespace: cache.MetaNamespaceIndexFunc}
	external := index(func(s any) []string { return access.Externals(s.(*corev1.Service)) })
	return map[string]kind{
		namespaces: {
			name: namespaces, example: &corev1.Namespace{}, strip: stripNamespace,
			source:  o.typed(corev1.SchemeGroupVersion.WithKind("Namespace"), "namespaces"),
			changed: typedChange(o.namespaceChanged),
		},
		policies: {
			name: policies, example: &networkingv1.NetworkPolicy{}, strip: stripPolicy, indexers: space,
			source:  o.typed(networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), "networkpolicies"),
			changed: typedChange(o.policyChanged),
		},
		services: {
			name: services, example: &corev1.Service{}, strip: stripService,
			source:   o.typed(corev1.SchemeGroupVersion.WithKind("Service"), "services"),
			indexers: cache.Indexers{byNamespace: cache.MetaNamespaceIndexFunc, byAddress: external},
			changed:  typedChange(o.serviceChanged),
		},
		endpointSlices: {
			name: endpointSlices, example: &discoveryv1.EndpointSlice{}, strip: stripSlice,
			source: o.typed(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), "endpointslices"),
			indexers: cache.Indexers{
				byAddress: index(func(s any) []string { return sliceAddresses(s.(*discoveryv1.EndpointSlice)) }),
				byService: index(func(s any) []string { return []string{serviceKey(s.(*discoveryv1.EndpointSlice))} }),
			},
			changed: typedChange(o.sliceChanged),
		},
		pods: {
			name: pods, example: &corev1.Pod{}, strip: stripPod,
			source: o.typed(corev1.SchemeGroupVersion.WithKind("Pod"), "pods"),
			indexers: cache.Indexers{
				byNamespace: cache.MetaNamespaceIndexFunc,
				byAddress:   index(func(p any) []string { return p.(*podRecord).pod.Addresses }),
			},
			changed: typedChange(o.podChanged),
		},
	}
}

// typedChange passes on changes of objects of the type T.
func typedChange[T any](to func(old, now *T)) func(any, any) {
	return func(old, now any) {
		before, _ := old.(*T)
		after, _ := now.(*T)
		to(before, after)
	}
}

// serviceKey names the Service that a slice belongs to; empty for none.
func serviceKey(s *discoveryv1.EndpointSlice) string {
	name := s.Labels[discoveryv1.LabelServiceName]
	if name == "" {
		return ""
	}
	return s.Namespace + "/" + name
}

// typed lists and watches a kind of our scheme in every namespace.
func (o *Observer) typed(gvk schema.GroupVersionKind, resource string) func() (cache.ListerWatcherWithContext, error) {
	return func() (cache.ListerWatcherWithContext, error) {
		client, err := apiutil.RESTClientForGVK(gvk, false, false, o.manager.GetConfig(),
			serializer.NewCodecFactory(o.manager.GetScheme()), o.manager.GetHTTPClient())
		if err != nil {
			return nil, fmt.Errorf("make client for %s: %w", gvk.Kind, err)
		}
		return listWatch(client, resource), nil
	}
}

func listWatch(client rest.Interface, resource string) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return client.Get().Resource(resource).VersionedParams(&options, metav1.ParameterCodec).Do(ctx).Get()
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.Watch = true
			return client.Get().Resource(resource).VersionedParams(&options, metav1.ParameterCodec).Watch(ctx)
		},
	}
}

// union is the values of both without repetition.
func union(a, b []string) []string {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}
