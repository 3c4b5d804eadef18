// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// peer is a compiled entry of spec.access.
type peer struct {
	namespaces, pods labels.Selector
}

// picks tells whether the peer admits a pod.
func (p *peer) picks(namespace, pod map[string]string) bool {
	return p.namespaces.Matches(labels.Set(namespace)) && p.pods.Matches(labels.Set(pod))
}

// compile prepares peers for matching. A selector that makes no sense picks nobody.
func compile(list []v1alpha1.Peer) []peer {
	out := make([]peer, 0, len(list))
	for i := range list {
		p := peer{namespaces: selector(&list[i].NamespaceSelector), pods: labels.Everything()}
		if s := list[i].PodSelector; s != nil {
			p.pods = selector(s)
		}
		out = append(out, p)
	}
	return out
}

func selector(s *v1alpha1.LabelSelector) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(s.ToMetav1())
	if err != nil {
		return labels.Nothing()
	}
	return out
}

// interest is what concerns one fleet.
type interest struct {
	uid        types.UID
	generation int64
	clients    []peer
	needPods   bool
	addresses  []string
}

// register holds the fleets and finds those that something concerns.
type register struct {
	mu        sync.RWMutex
	fleets    map[types.NamespacedName]*interest
	spaces    map[string]map[types.NamespacedName]bool
	addresses map[string]map[types.NamespacedName]bool
}

func newRegister() *register {
	return &register{
		fleets:    map[types.NamespacedName]*interest{},
		spaces:    map[string]map[types.NamespacedName]bool{},
		addresses: map[string]map[types.NamespacedName]bool{},
	}
}

// put notes a fleet and answers whether its needs may have changed.
func (r *register) put(m *v1alpha1.Memcache, addresses []string) bool {
	key := types.NamespacedName{Namespace: m.Namespace, Name: m.Name}
	addresses = union(addresses, nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.fleets[key]
	if was != nil && was.uid == m.UID && was.generation == m.Generation {
		if !slices.Equal(was.addresses, addresses) {
			// What others hold stays as it is.
			moved := *was
			moved.addresses = addresses
			r.unlink(key, was)
			r.fleets[key] = &moved
			r.link(key, &moved)
		}
		return false
	}
	if was != nil {
		r.unlink(key, was)
	}
	now := &interest{
		uid: m.UID, generation: m.Generation, addresses: addresses,
		clients: compile(m.Spec.Access.Clients), needPods: NeedsPods(m),
	}
	r.fleets[key] = now
	r.link(key, now)
	return was == nil || was.needPods != now.needPods
}

func (r *register) remove(key types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.fleets[key]
	if was == nil {
		return false
	}
	r.unlink(key, was)
	delete(r.fleets, key)
	return true
}

func (r *register) link(key types.NamespacedName, i *interest) {
	add := func(in map[string]map[types.NamespacedName]bool, value string) {
		if in[value] == nil {
			in[value] = map[types.NamespacedName]bool{}
		}
		in[value][key] = true
	}
	add(r.spaces, key.Namespace)
	for _, a := range i.addresses {
		add(r.addresses, a)
	}
}

func (r *register) unlink(key types.NamespacedName, i *interest) {
	cut := func(in map[string]map[types.NamespacedName]bool, value string) {
		if delete(in[value], key); len(in[value]) == 0 {
			delete(in, value)
		}
	}
	cut(r.spaces, key.Namespace)
	for _, a := range i.addresses {
		cut(r.addresses, a)
	}
}

// needs answers whether there are fleets, and whether one of them needs pods.
func (r *register) needs() (some, needPods bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, i := range r.fleets {
		needPods = needPods || i.needPods
	}
	return len(r.fleets) > 0, needPods
}

func (r *register) all() []types.NamespacedName {
	return r.concerned(func(types.NamespacedName, *interest) bool { return true })
}

// concerned are the fleets for which f answers true.
func (r *register) concerned(f func(types.NamespacedName, *interest) bool) []types.NamespacedName {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []types.NamespacedName
	for key, i := range r.fleets {
		if f(key, i) {
			out = append(out, key)
		}
	}
	return out
}

// inNamespace are the fleets of a namespace.
func (r *register) inNamespace(namespace string) []types.NamespacedName {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return keys(r.spaces[namespace])
}

// at are the fleets that have one of the addresses.
func (r *register) at(addresses []string) []types.NamespacedName {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []types.NamespacedName
	for _, a := range addresses {
		out = append(out, keys(r.addresses[a])...)
	}
	return out
}

// get returns the interest of a fleet; nil when it is not known.
func (r *register) get(key types.NamespacedName) *interest {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.fleets[key]
}

func keys(set map[types.NamespacedName]bool) []types.NamespacedName {
	out := make([]types.NamespacedName, 0, len(set))
	for key := range set {
		out = append(out, key)
	}
	return out
}
