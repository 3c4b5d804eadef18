// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// World is what is known of everybody's objects that decide who reaches one
// fleet. The objects are stripped to what is judged, shared with others, and
// never to be changed.
type World struct {
	// Policies are the NetworkPolicies of the fleet's namespace, its own among them.
	Policies []*networkingv1.NetworkPolicy
	// Services are those of the fleet's namespace, those with an EndpointSlice
	// that has an address of the fleet's, and those that take such an address as
	// an external one, wherever they are.
	Services []*corev1.Service
	// Slices are the EndpointSlices of Services and those with an address of the fleet's.
	Slices []*discoveryv1.EndpointSlice
	// Namespace are the labels of the fleet's own namespace; nil where they are not known.
	Namespace map[string]string
	// AdmittedNamespaces is how many namespaces the clients' selectors pick; nil
	// where that is not known.
	AdmittedNamespaces *int32
	// AdmittedPods is how many pods the clients' selectors pick; nil where pods
	// are not watched.
	AdmittedPods *int32
	// Foreign are policies of kinds that other projects brought: those of the
	// fleet's namespace, and those without one.
	Foreign []Foreign
	// Unseen says what could not be read.
	Unseen []string
}

// Foreign is a policy of a kind that Kubernetes itself does not have.
type Foreign struct {
	// Group and Kind tell what it is.
	Group, Kind string
	// Namespace is empty for a policy of the whole cluster.
	Namespace string
	// Name is its name.
	Name string
	// Spec is its specification; it may be nil. For kinds that have several in
	// one object there is a Foreign for each.
	Spec map[string]any
}

// Pod is what matters of somebody's pod.
type Pod struct {
	// Namespace and Name are the pod's.
	Namespace, Name string
	// UID tells it from an earlier pod of its name.
	UID types.UID
	// Labels are its labels.
	Labels map[string]string
	// Addresses are its IP addresses; none before it has been given one.
	Addresses []string
	// HostNetwork tells that its addresses are the node's.
	HostNetwork bool
	// Ended tells that it runs no more, so that its addresses may be another's.
	Ended bool
}
