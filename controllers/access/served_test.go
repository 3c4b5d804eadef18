// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestServedAddresses(t *testing.T) {
	pod := func(uid string, addresses ...string) Pod {
		return Pod{UID: types.UID(uid), Addresses: addresses}
	}
	ended := func(p Pod) Pod { p.Ended = true; return p }
	host := func(p Pod) Pod { p.HostNetwork = true; return p }
	for name, c := range map[string]struct {
		picked, others []Pod
		want           []string
	}{
		"nobody is picked: nobody is served":       {nil, []Pod{pod("b", "10.0.0.2")}, nil},
		"who is picked is served, and nobody else": {[]Pod{pod("a", "10.0.0.1")}, []Pod{pod("b", "10.0.0.2")}, []string{"10.0.0.1"}},
		"both families count":                      {[]Pod{pod("a", "fd00::1", "10.0.0.1")}, nil, []string{"10.0.0.1", "fd00::1"}},
		"a pod without an address has none":        {[]Pod{pod("a")}, nil, nil},
		"a pod that has ended has none":            {[]Pod{ended(pod("a", "10.0.0.1"))}, nil, nil},
		"a pod on the host's network has none":     {[]Pod{host(pod("a", "10.0.0.1"))}, nil, nil},
		"two clients may have one address":         {[]Pod{pod("a", "10.0.0.1"), pod("c", "10.0.0.1")}, nil, []string{"10.0.0.1"}},
		"an address that a stranger has, too":      {[]Pod{pod("a", "10.0.0.1")}, []Pod{pod("b", "10.0.0.1")}, nil},
		"an address that the host has, too":        {[]Pod{pod("a", "10.0.0.1")}, []Pod{host(pod("b", "10.0.0.1"))}, nil},
		"an address that an ended stranger had":    {[]Pod{pod("a", "10.0.0.1")}, []Pod{ended(pod("b", "10.0.0.1"))}, []string{"10.0.0.1"}},
		"one address is shared, the other is its own": {[]Pod{pod("a", "10.0.0.1", "fd00::1")},
			[]Pod{pod("b", "10.0.0.1")}, []string{"fd00::1"}},
		"a client that has ended leaves its address to a stranger": {[]Pod{ended(pod("a", "10.0.0.1"))},
			[]Pod{pod("b", "10.0.0.1")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			all := slices.Concat(c.picked, c.others)
			got := Served(c.picked, func(address string) (found []Pod) {
				for _, p := range all {
					if slices.Contains(p.Addresses, address) {
						found = append(found, p)
					}
				}
				return found
			})
			if !slices.Equal(got, c.want) {
				t.Errorf("served are %v, want %v", got, c.want)
			}
		})
	}
	gone := Served([]Pod{pod("a", "10.0.0.1")}, func(string) []Pod { return nil })
	if gone != nil {
		t.Errorf("an address that nobody has any more is served: %v", gone)
	}
}
