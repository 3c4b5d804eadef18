// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/netip"
	"slices"
)

const (
	// maxConnected is how many addresses Connected tells apart.
	maxConnected = 10_000
	// connectedPerStep is how many places of connections are looked at before others may come and go.
	connectedPerStep = 1024
)

// Peer is an address that is connected.
type Peer struct {
	// Address is the peer's.
	Address netip.Addr
	// Connections is how many it has.
	Connections int
	// Since is the Unix second in which the oldest of them was accepted.
	Since int64
}

// Connected returns who is connected, by address; at most 10,000, and how many connections others have. Who waits in
// the lobby is not connected yet, and UNIX sockets have no address.
func (s *Server) Connected() (peers []Peer, left int) {
	found := make(map[address]Peer)
	note := func(c *conn) {
		if c.remote == (address{}) {
			return
		}
		p, ok := found[c.remote]
		if !ok && len(found) >= maxConnected {
			left++
			return
		}
		if !ok || c.since < p.Since {
			p.Since = c.since
		}
		p.Connections++
		found[c.remote] = p
	}
	for _, l := range s.allLoops() {
		for from, more := 0, true; more; from += connectedPerStep {
			more = l.slots.eachIn(from, from+connectedPerStep, note)
		}
	}
	s.mu.Lock()
	for c := range s.conns {
		note(c)
	}
	s.mu.Unlock()
	peers = make([]Peer, 0, len(found))
	for a, p := range found {
		p.Address = a.IP()
		peers = append(peers, p)
	}
	slices.SortFunc(peers, func(a, b Peer) int { return a.Address.Compare(b.Address) })
	return peers, left
}
