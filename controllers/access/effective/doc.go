// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package effective judges who else may reach a fleet: all that adds to its own
// NetworkPolicy or walks around it. Every function is pure.
//
// Whether one selector's pods are all among those of others is decided exactly,
// for all labels that pods and namespaces could have, and not for those only
// that exist now.
package effective

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// Fleet is what is judged.
type Fleet struct {
	// Namespace and Name are the Memcache's.
	Namespace, Name string
	// Own is what the fleet's own policy admits.
	Own []networkingv1.NetworkPolicyIngressRule
	// OwnPolicies are the UIDs of its own policies.
	OwnPolicies []types.UID
	// Pods are those that are there, and those that are wanted.
	Pods []Pod
	// Addresses are those of the fleet's own Services, as access.Address writes them.
	Addresses []string
	// Passing are addresses that were, or will be, the fleet's: they are no strangers.
	Passing map[string]bool
}

// Pod is what matters of a fleet's pod.
type Pod struct {
	// Name and Labels are its own.
	Name   string
	Labels map[string]string
	// Addresses are its IP addresses, as access.Address writes them.
	Addresses []string
	// Ports are what its containers name.
	Ports []Port
	// HostNetwork tells that its ports are its node's.
	HostNetwork bool
}

// Port is a container's port.
type Port struct {
	// Name may be empty.
	Name string
	// Number is the port, and Host the node's port that leads to it; zero for none.
	Number, Host int32
	// TCP tells that it is one of TCP.
	TCP bool
}

// ports are those on which a fleet's pods may listen; all are TCP.
var ports = []int32{
	v1alpha1.PortCache, v1alpha1.PortCacheTLS, v1alpha1.PortMetrics, v1alpha1.PortControl,
}

// Finding is an object that admits more than the fleet's own policy does.
type Finding struct {
	// Reason is the condition's for it.
	Reason string
	// Widening names it, and says what it does.
	v1alpha1.Widening
	// Unnamed are the objects that the Widening does not name: they are for the
	// operator's own log.
	Unnamed []types.NamespacedName

	severity int
}

// How bad a finding is; the least is the worst.
const (
	diverted = iota // what clients store goes to somebody else
	claimed         // the same, through an address
	admitted        // others get in
	led             // others may get in from outside
)

// Verdict is what there is to say.
type Verdict struct {
	// WidenedBy is sorted, the worst first.
	WidenedBy []Finding
	// NotJudged says what could not be read, or not be judged; sorted.
	NotJudged []string
}
