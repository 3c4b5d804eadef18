// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package peers keeps the locks of caches whose peers are verified, and tells
// who is connected to fleets. It resolves a Memcache's clients to the addresses
// of their pods, tells them to each member over its control port whenever they
// change, and again before they get old. A member that holds an address which
// it does not know is answered at once. For fleets in mode Audit it counts the
// connected addresses that Enforce would refuse.
//
// Nothing here is written to the API server.
package peers

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/controllers/access"
)

// Phone reaches members over their control ports, each by its pod's UID.
type Phone interface {
	// State asks a member what it knows about itself.
	State(ctx context.Context, member types.UID) (*controlapi.State, error)
	// SetPeers tells a member whom it serves; the state is what follows.
	SetPeers(ctx context.Context, member types.UID, peers *controlapi.Peers) (*controlapi.State, error)
	// Connections asks a member who is connected.
	Connections(ctx context.Context, member types.UID) (*controlapi.Connections, error)
}

// World knows the cluster's pods. It reads memory alone, but for Live.
type World interface {
	// Clients returns the pods that a fleet's clients pick.
	Clients(fleet types.NamespacedName) ([]access.Pod, error)
	// At returns the pods that have an address, and whether pods are known at all.
	At(address string) ([]access.Pod, bool)
	// Admits tells whether a fleet's clients pick a pod.
	Admits(fleet types.NamespacedName, p *access.Pod) bool
	// Live asks the API server for the pods that have an address now.
	Live(ctx context.Context, address string) ([]access.Pod, error)
}

// Fleet is what is to be known about one.
type Fleet struct {
	// Key and UID are the Memcache's.
	Key types.NamespacedName
	UID types.UID
	// Verified tells that its members serve listed addresses alone.
	Verified bool
	// Audit tells that it is in mode Audit.
	Audit bool
	// Frozen tells that the object is not to be acted on: what was told stays in
	// force, and is told to new members.
	Frozen bool
	// Members are the UIDs of its pods that run.
	Members []types.UID
}

// Report is what is known about who is connected to a fleet in mode Audit.
type Report struct {
	// Known tells that every member has been asked and pods are known.
	Known bool
	// WouldBeCutOff is how many connected addresses the clients' selectors do not admit.
	WouldBeCutOff int
}
