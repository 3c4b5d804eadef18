// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"sync/atomic"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/cache-server/server"
)

const (
	// maxMembers is how many members a fleet may have, and maxHost how long a
	// host name may be.
	maxMembers = 4096
	maxHost    = 253
)

// hostShape keeps out of the list what would be taken for its separators.
var hostShape = regexp.MustCompile(`^[0-9A-Za-z]([-.0-9A-Za-z]*[0-9A-Za-z])?$`)

// Members are the fleet's members as the operator told them last. Until then
// they are not known, and version is 0.
type Members struct {
	list atomic.Pointer[memberList]
}

type memberList struct {
	version uint64
	members []server.Member
}

// Snapshot implements server.Membership.
func (m *Members) Snapshot() (version uint64, members []server.Member) {
	if list := m.list.Load(); list != nil {
		return list.version, list.members
	}
	return 0, nil
}

// set replaces the list. Another list needs a higher version, because clients
// go by it. It is called by one goroutine at a time.
func (m *Members) set(version uint64, members []server.Member) error {
	if now, list := m.Snapshot(); version < now || version == now && !slices.Equal(list, members) {
		return fmt.Errorf("version is %d: the list in force has %d, and another needs a higher one", version, now)
	}
	m.list.Store(&memberList{version, members})
	return nil
}

func parseMembership(m *controlapi.Membership) ([]server.Member, error) {
	if m.Version < 1 {
		return nil, fmt.Errorf("version is %d: it must be at least 1", m.Version)
	}
	if len(m.Nodes) > maxMembers {
		return nil, fmt.Errorf("nodes has %d members: it may have at most %d", len(m.Nodes), maxMembers)
	}
	out := make([]server.Member, len(m.Nodes))
	for i, n := range m.Nodes {
		switch {
		case len(n.Host) > maxHost || !hostShape.MatchString(n.Host):
			return nil, fmt.Errorf("nodes[%d].host is no host name", i)
		case n.Port == 0:
			return nil, fmt.Errorf("nodes[%d].port is 0: write the cache port", i)
		}
		if n.Address != "" {
			if a, err := netip.ParseAddr(n.Address); err != nil || a.Zone() != "" {
				return nil, fmt.Errorf("nodes[%d].address is no IP address without zone", i)
			}
		}
		out[i] = server.Member{Host: n.Host, IP: n.Address, Port: n.Port}
	}
	return out, nil
}
