// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/controllers/access"
)

// Each function is told of one change and has the fleets reconciled that it
// concerns, and no others. old is nil for a new object, now for one that is gone.

func (o *Observer) policyChanged(old, now *networkingv1.NetworkPolicy) {
	if old != nil && now != nil && equality.Semantic.DeepEqual(old.Spec, now.Spec) {
		return
	}
	o.enqueue(o.fleets.inNamespace(either(old, now).Namespace))
}

func (o *Observer) serviceChanged(old, now *corev1.Service) {
	if old != nil && now != nil && equality.Semantic.DeepEqual(old.Spec, now.Spec) &&
		equality.Semantic.DeepEqual(old.Status, now.Status) {
		return
	}
	s := either(old, now)
	concerned := o.fleets.inNamespace(s.Namespace)
	for _, version := range []*corev1.Service{old, now} {
		if version != nil {
			concerned = append(concerned, o.fleets.at(access.Externals(version))...)
		}
	}
	// Without a selector, a Service leads where its slices say.
	for _, slice := range o.watchers[endpointSlices].find(byService, s.Namespace+"/"+s.Name) {
		concerned = append(concerned, o.fleets.at(sliceAddresses(slice.(*discoveryv1.EndpointSlice)))...)
	}
	o.enqueue(concerned)
}

func (o *Observer) sliceChanged(old, now *discoveryv1.EndpointSlice) {
	if old != nil && now != nil && maps.Equal(old.Labels, now.Labels) &&
		equality.Semantic.DeepEqual(old.Endpoints, now.Endpoints) &&
		equality.Semantic.DeepEqual(old.Ports, now.Ports) {
		return
	}
	var concerned []types.NamespacedName
	for _, version := range []*discoveryv1.EndpointSlice{old, now} {
		if version == nil {
			continue
		}
		concerned = append(concerned, o.fleets.at(sliceAddresses(version))...)
		service := version.Labels[discoveryv1.LabelServiceName]
		for _, fleet := range o.fleets.inNamespace(version.Namespace) {
			if access.IsOwnService(fleet.Name, service) {
				concerned = append(concerned, fleet)
			}
		}
	}
	o.enqueue(concerned)
}

func (o *Observer) namespaceChanged(old, now *corev1.Namespace) {
	if old != nil && now != nil && maps.Equal(old.Labels, now.Labels) {
		return
	}
	n := either(old, now)
	var before, after labels.Set
	if old != nil {
		before = old.Labels
	}
	if now != nil {
		after = now.Labels
	}
	picked := o.fleets.concerned(func(_ types.NamespacedName, i *interest) bool {
		return slices.ContainsFunc(i.clients, func(p peer) bool {
			return (old != nil && p.namespaces.Matches(before)) != (now != nil && p.namespaces.Matches(after))
		})
	})
	o.tellClients(picked)
	// The labels of its own namespace decide which policies of the cluster select a fleet.
	o.enqueue(append(picked, o.fleets.inNamespace(n.Name)...))
}

func (o *Observer) podChanged(old, now *podRecord) {
	if old != nil && now != nil && old.pod.Ended == now.pod.Ended && old.pod.HostNetwork == now.pod.HostNetwork &&
		maps.Equal(old.pod.Labels, now.pod.Labels) && slices.Equal(old.pod.Addresses, now.pod.Addresses) {
		return
	}
	changed := o.sharing(old, now)
	picked := o.fleets.concerned(func(_ types.NamespacedName, i *interest) bool {
		return i.needPods && slices.ContainsFunc(changed, func(p *access.Pod) bool {
			namespace := o.namespaceLabels(p.Namespace)
			return slices.ContainsFunc(i.clients, func(c peer) bool { return c.picks(namespace, p.Labels) })
		})
	})
	o.tellClients(picked)
	o.enqueue(picked)
}

// sharing are a pod, as it was and as it is, and those that have an address in
// common with it: whose an address is depends on all of them.
func (o *Observer) sharing(versions ...*podRecord) []*access.Pod {
	var out []*access.Pod
	for _, v := range versions {
		if v == nil {
			continue
		}
		out = append(out, &v.pod)
		for _, a := range v.pod.Addresses {
			for _, other := range o.watchers[pods].find(byAddress, a) {
				if p := &other.(*podRecord).pod; p.UID != v.pod.UID && !p.HostNetwork {
					out = append(out, p)
				}
			}
		}
	}
	return out
}

func (o *Observer) tellClients(fleets []types.NamespacedName) {
	for _, f := range o.clients {
		for _, fleet := range fleets {
			f(fleet)
		}
	}
}

// either is the newer one that there is.
func either[T any](old, now *T) *T {
	if now != nil {
		return now
	}
	return old
}
