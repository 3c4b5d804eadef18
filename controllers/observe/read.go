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
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/controllers/access"
)

// Around returns what there is around a fleet that was tracked. It answers
// false while it is still being read for the first time; a later pass is asked
// for when that is over. It reads memory alone.
func (o *Observer) Around(fleet types.NamespacedName) (*access.World, bool) {
	i := o.fleets.get(fleet)
	if i == nil {
		return nil, false
	}
	w := &access.World{}
	for _, name := range []string{policies, services, endpointSlices, namespaces} {
		switch state, why := o.watchers[name].ready(); state {
		case reading:
			return nil, false
		case refused:
			w.Unseen = append(w.Unseen, why)
		case observed:
		}
	}
	if !o.foreign.around(fleet.Namespace, w) {
		return nil, false
	}
	w.Policies = typed[networkingv1.NetworkPolicy](o.watchers[policies].find(byNamespace, fleet.Namespace))
	o.aroundServices(fleet, i.addresses, w)
	w.Namespace = o.namespaceLabels(fleet.Namespace)
	if state, _ := o.watchers[namespaces].ready(); state == observed {
		o.admitted(i, w)
	}
	return w, true
}

// aroundServices collects the Services and slices that may lead to a fleet, or
// away from it.
func (o *Observer) aroundServices(fleet types.NamespacedName, addresses []string, w *access.World) {
	slicesAt := map[types.UID]*discoveryv1.EndpointSlice{}
	collect := func(found []any) {
		for _, s := range typed[discoveryv1.EndpointSlice](found) {
			slicesAt[s.UID] = s
		}
	}
	found := map[types.UID]*corev1.Service{}
	for _, s := range typed[corev1.Service](o.watchers[services].find(byNamespace, fleet.Namespace)) {
		found[s.UID] = s
	}
	for _, s := range found {
		if access.IsOwnService(fleet.Name, s.Name) {
			collect(o.watchers[endpointSlices].find(byService, fleet.Namespace+"/"+s.Name))
		}
	}
	for _, a := range addresses {
		collect(o.watchers[endpointSlices].find(byAddress, a))
		for _, s := range typed[corev1.Service](o.watchers[services].find(byAddress, a)) {
			found[s.UID] = s
		}
	}
	for _, slice := range slicesAt {
		w.Slices = append(w.Slices, slice)
		if s, ok := o.watchers[services].get(serviceKey(slice)).(*corev1.Service); ok {
			found[s.UID] = s
		}
	}
	for _, s := range found {
		w.Services = append(w.Services, s)
	}
}

// admitted counts the namespaces that a fleet's clients are picked from, and
// their pods where those are watched.
func (o *Observer) admitted(i *interest, w *access.World) {
	spaces := o.clientSpaces(i.clients)
	w.AdmittedNamespaces = new(int32(len(spaces)))
	if state, _ := o.watchers[pods].ready(); i.needPods && state == observed {
		n := int32(0)
		o.eachClient(spaces, func(*access.Pod) { n++ })
		w.AdmittedPods = &n
	}
}

// space is a namespace with those of a fleet's peers that pick it.
type space struct {
	name   string
	labels map[string]string
	peers  []peer
}

func (o *Observer) clientSpaces(clients []peer) []space {
	if len(clients) == 0 {
		return nil
	}
	var out []space
	for _, n := range typed[corev1.Namespace](o.watchers[namespaces].all()) {
		s := space{name: n.Name, labels: n.Labels}
		for _, p := range clients {
			if p.namespaces.Matches(labels.Set(n.Labels)) {
				s.peers = append(s.peers, p)
			}
		}
		if len(s.peers) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// eachClient calls f for each pod that may connect: that runs, and that a
// policy can tell from its node.
func (o *Observer) eachClient(spaces []space, f func(*access.Pod)) {
	for _, s := range spaces {
		for _, found := range o.watchers[pods].find(byNamespace, s.name) {
			p := &found.(*podRecord).pod
			if p.Ended || p.HostNetwork {
				continue
			}
			if slices.ContainsFunc(s.peers, func(c peer) bool { return c.pods.Matches(labels.Set(p.Labels)) }) {
				f(p)
			}
		}
	}
}

// Clients returns the pods that a tracked fleet's clients pick, in no order,
// those without an address among them. The error says why they are not known;
// it is the caller's to keep what it had. The fleet must need pods.
func (o *Observer) Clients(fleet types.NamespacedName) ([]access.Pod, error) {
	i := o.fleets.get(fleet)
	if i == nil {
		return nil, fmt.Errorf("fleet %s is not tracked", fleet)
	}
	for _, name := range []string{namespaces, pods} {
		switch state, why := o.watchers[name].ready(); state {
		case reading:
			return nil, fmt.Errorf("%s are being read", name)
		case refused:
			return nil, fmt.Errorf("who the clients are is not known: %s", why)
		case observed:
		}
	}
	var out []access.Pod
	o.eachClient(o.clientSpaces(i.clients), func(p *access.Pod) { out = append(out, *p) })
	return out, nil
}

// At returns the pods that have an address, the host's network included, and
// whether pods are known at all.
func (o *Observer) At(address string) ([]access.Pod, bool) {
	if state, _ := o.watchers[pods].ready(); state != observed {
		return nil, false
	}
	var out []access.Pod
	for _, found := range o.watchers[pods].find(byAddress, access.Address(address)) {
		if p := found.(*podRecord).pod; !p.Ended {
			out = append(out, p)
		}
	}
	return out, true
}

// maxLive bounds what one question to the API server brings back: more pods
// have no address in common.
const maxLive = 16

// Live asks the API server for the pods that have an address now, as their
// first: what has just come to be may not have come through the watch.
func (o *Observer) Live(ctx context.Context, address string) ([]access.Pod, error) {
	list := &corev1.PodList{}
	err := o.manager.GetAPIReader().List(ctx, list, client.Limit(maxLive),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("status.podIP", address)})
	if err != nil {
		return nil, fmt.Errorf("list pods that have an address: %w", err)
	}
	if list.Continue != "" {
		return nil, fmt.Errorf("more than %d pods have one address", maxLive)
	}
	out := make([]access.Pod, 0, len(list.Items))
	for i := range list.Items {
		stripped, err := stripPod(&list.Items[i])
		if err != nil {
			return nil, err
		}
		out = append(out, stripped.(*podRecord).pod)
	}
	return out, nil
}

// NamespaceLabels are the labels of a namespace; nil where they are not known.
func (o *Observer) NamespaceLabels(name string) map[string]string { return o.namespaceLabels(name) }

// Admits tells whether a tracked fleet's clients pick a pod.
func (o *Observer) Admits(fleet types.NamespacedName, p *access.Pod) bool {
	i := o.fleets.get(fleet)
	if i == nil || p.Ended || p.HostNetwork {
		return false
	}
	namespace := o.namespaceLabels(p.Namespace)
	return slices.ContainsFunc(i.clients, func(c peer) bool { return c.picks(namespace, p.Labels) })
}

// namespaceLabels are those of a namespace; nil when it is not known.
func (o *Observer) namespaceLabels(name string) map[string]string {
	if n, ok := o.watchers[namespaces].get(name).(*corev1.Namespace); ok {
		return n.Labels
	}
	return nil
}

// typed are the objects of the type T in what a store returned.
func typed[T any](found []any) []*T {
	out := make([]*T, 0, len(found))
	for _, o := range found {
		if object, ok := o.(*T); ok {
			out = append(out, object)
		}
	}
	return out
}
