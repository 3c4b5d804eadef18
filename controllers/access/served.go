// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// Served returns the addresses that the caches themselves serve where peers are
// verified: those of the pods that the clients' selectors pick, in order.
//
// at returns every pod that has an address, the host's network included. An
// address that two pods have belongs to nobody unless both are picked: which of
// them connects cannot be told. Pods on the host's network have no address of
// their own, and a pod that has ended may have left its address to another.
func Served(picked []Pod, at func(address string) []Pod) []string {
	clients := make(map[types.UID]bool, len(picked))
	for i := range picked {
		if p := &picked[i]; !p.Ended && !p.HostNetwork {
			clients[p.UID] = true
		}
	}
	var out []string
	for i := range picked {
		p := &picked[i]
		if !clients[p.UID] {
			continue
		}
		for _, a := range p.Addresses {
			if OwnedBy(at(a), func(p *Pod) bool { return clients[p.UID] }) {
				out = append(out, a)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// OwnedBy tells whether an address that these pods have belongs to clients
// alone; one that nobody has does not.
func OwnedBy(pods []Pod, client func(*Pod) bool) bool {
	owned := false
	for i := range pods {
		p := &pods[i]
		if p.Ended {
			continue
		}
		if p.HostNetwork || !client(p) {
			return false
		}
		owned = true
	}
	return owned
}
