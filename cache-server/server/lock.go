// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// lock says who is served. It is never changed, only replaced, so that asking it costs a look-up and no wait. It
// is asked once for each connection, when that is accepted, and of those that are open when it gets stricter.
type lock struct {
	gated    bool // the server was started with a gate
	open     bool // the gate is
	pinned   bool // the server was started with verified peers
	verified bool // nobody but who is listed is served
	listed   map[address]struct{}
	revision int64 // of the list, 0 if none has come
}

// admits tells whether connections from an address are served.
func (k *lock) admits(a address) bool {
	return k.open && k.knows(a)
}

// knows tells whether the peers in force have an address.
func (k *lock) knows(a address) bool {
	if !k.verified {
		return true
	}
	_, ok := k.listed[a]
	return ok
}

// stricter tells whether somebody whom another lock admits may be refused by this one.
func (k *lock) stricter(than *lock) bool {
	switch {
	case !than.open:
		return false
	case !k.open:
		return true
	case !k.verified:
		return false
	case !than.verified:
		return true
	}
	for a := range than.listed {
		if _, ok := k.listed[a]; !ok {
			return true
		}
	}
	return false
}

// PeerList is whom the server serves.
type PeerList struct {
	// Verified serves nobody but Addresses.
	Verified bool
	// Revision is at least 1 and rises with every list that differs from the one before it.
	Revision int64
	// Addresses are without port and zone. An IPv4 address means the same as an IPv4-mapped IPv6 address.
	Addresses []netip.Addr
}

// PeersState is the list in force.
type PeersState struct {
	// Verified tells that nobody but listed addresses is served.
	Verified bool
	// Revision is that of the list; 0 while there is none.
	Revision int64
	// Count is how many addresses the list has.
	Count int
	// Updated is when the list was last set or confirmed; zero while there is none.
	Updated time.Time
}

// Errors of SetGate and SetPeers.
var (
	// ErrNoGate means that the server was started without a gate, and is always open.
	ErrNoGate = errors.New("there is no gate to close: the server was started without --gate=closed")
	// ErrVerifiedOnly means that the server was started to serve verified peers alone.
	ErrVerifiedOnly = errors.New("the list is not verified: the server was started with --peers=verified")
)

// maxListed bounds a list: some 60 MiB of it would fit a Go heap that has other things to hold.
const maxListed = 200_000

// SetGate opens or closes the gate. Closing it closes all connections.
func (s *Server) SetGate(open bool) error {
	err := s.setLock(func(k *lock) error {
		if !open && !k.gated {
			return ErrNoGate
		}
		k.open = open
		return nil
	})
	return err
}

// GateRequired tells whether the server was started with a gate.
func (s *Server) GateRequired() bool { return s.lock.Load().gated }

// GateOpen tells whether the gate is open; without one it is.
func (s *Server) GateOpen() bool { return s.lock.Load().open }

// SetPeers replaces whom the server serves, as a whole. A list that is older than the one in force is refused.
// Connections of those who are not in it any more are closed.
func (s *Server) SetPeers(list PeerList) error {
	if len(list.Addresses) > maxListed {
		return fmt.Errorf("the list has %d addresses: it may have at most %d", len(list.Addresses), maxListed)
	}
	listed := make(map[address]struct{}, len(list.Addresses))
	for i, a := range list.Addresses {
		switch {
		case !a.IsValid() || a.IsUnspecified():
			return fmt.Errorf("addresses[%d] is %q: it must be the address of a pod", i, a)
		case a.Zone() != "":
			return fmt.Errorf("addresses[%d] is %q: it must be without a zone", i, a)
		}
		listed[a.As16()] = struct{}{}
	}
	return s.setLock(func(k *lock) error {
		switch {
		case k.pinned && !list.Verified:
			return ErrVerifiedOnly
		case list.Revision < 1:
			return fmt.Errorf("revision is %d: it must be at least 1", list.Revision)
		case list.Revision < k.revision:
			return fmt.Errorf("revision is %d: the list in force has %d", list.Revision, k.revision)
		}
		s.confirmed.Store(int64(time.Since(s.started)))
		k.verified, k.revision = list.Verified, list.Revision
		if k.listed == nil || !maps.Equal(k.listed, listed) {
			k.listed = listed
		}
		return nil
	})
}

// setLock replaces the lock. Whoever was accepted under the old one is in the books by then, so that no connection
// slips through between being asked and being looked for.
func (s *Server) setLock(change func(*lock) error) error {
	s.mu.Lock()
	old := s.lock.Load()
	next := *old
	if err := change(&next); err != nil {
		s.mu.Unlock()
		return err
	}
	s.lock.Store(&next)
	stricter := next.stricter(old)
	var strangers []*conn
	if stricter {
		s.locks.Add(1)
		for c := range s.conns {
			if !next.admits(c.remote) {
				strangers = append(strangers, c)
			}
		}
	}
	loops := slices.Clone(s.loops)
	s.mu.Unlock()
	if stricter {
		for _, l := range loops {
			l.call()
		}
		for _, c := range strangers {
			c.evict(&next)
		}
	}
	s.lobby.reconsider()
	if old.open != next.open {
		s.log.Info("Gate moved", "open", next.open)
	}
	if old.open != next.open || old.revision != next.revision || old.verified != next.verified {
		s.changes.tell()
	}
	return nil
}

// PeersState returns the list in force.
func (s *Server) PeersState() PeersState {
	k := s.lock.Load()
	state := PeersState{Verified: k.verified, Revision: k.revision, Count: len(k.listed)}
	if k.revision > 0 {
		state.Updated = s.started.Add(time.Duration(s.confirmed.Load()))
	}
	return state
}

// peersAge is how long ago the list was set or confirmed.
func (s *Server) peersAge() time.Duration {
	return time.Since(s.started) - time.Duration(s.confirmed.Load())
}

// Unready says why nobody, or nobody new, is served; empty if somebody may be.
func (s *Server) Unready() string {
	k := s.lock.Load()
	switch {
	case s.draining.Load():
		return "draining"
	case !k.open:
		return "the gate is closed: enforcement is not proven for this pod"
	case k.verified && k.revision == 0:
		return "no list of verified peers has come yet"
	default:
		return ""
	}
}
