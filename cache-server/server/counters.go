// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import "sync/atomic"

// counter names one of the counts that connections keep.
type counter uint8

const (
	cmdGet counter = iota
	cmdSet
	cmdFlush
	cmdTouch
	cmdMeta
	getHits
	getMisses
	deleteHits
	deleteMisses
	incrHits
	incrMisses
	decrHits
	decrMisses
	casHits
	casMisses
	casBadval
	touchHits
	touchMisses
	storeTooLarge
	storeNoMemory
	authCmds
	authErrors
	bytesRead
	bytesWritten
	numCounters
)

// tally is what one batch of requests has counted. Batches are added up without locks.
type tally [numCounters]uint64

// counters are sums over connections: each loop has its own, so that loops do not wait for each other.
type counters [numCounters]atomic.Uint64

// add moves what t has counted into the sums.
func (c *counters) add(t *tally) {
	for i, n := range t {
		if n != 0 {
			c[i].Add(n)
		}
	}
	*t = tally{}
}

// count is the sum over all connections.
func (s *Server) count(i counter) uint64 {
	sum := s.counts[i].Load()
	for _, l := range s.allLoops() {
		sum += l.counts[i].Load()
	}
	return sum
}

func (s *Server) resetCounts() {
	s.counts.reset()
	s.idleKicks.Store(0)
	for _, l := range s.allLoops() {
		l.counts.reset()
		l.yields.Store(0)
		l.idleKicks.Store(0)
	}
}

// yields is how often connections have let others go first.
func (s *Server) yields() uint64 {
	sum := uint64(0)
	for _, l := range s.allLoops() {
		sum += l.yields.Load()
	}
	return sum
}

// kicked is how many connections were closed because they were idle.
func (s *Server) kicked() uint64 {
	sum := s.idleKicks.Load()
	for _, l := range s.allLoops() {
		sum += l.idleKicks.Load()
	}
	return sum
}

func (s *Server) allLoops() []*loop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loops
}

func (c *counters) reset() {
	for i := range c {
		c[i].Store(0)
	}
}

// Reasons why a connection is refused or closed by the server, as they stand in metrics.
const (
	reasonOwnAddress  = "own_address"
	reasonTooMany     = "too_many_connections"
	reasonDraining    = "draining"
	reasonForeign     = "foreign_protocol"
	reasonLineTooLong = "line_too_long"
	reasonSlowReader  = "slow_reader"
	reasonSlowWriter  = "slow_writer"
	reasonNoMemory    = "out_of_memory"
	reasonPanic       = "panic"
	reasonIdle        = "idle"
	// Of the lock: see lock.go and lobby.go.
	reasonLocked      = "locked" // never counted: it leads to the lobby
	reasonGateClosed  = "gate_closed"
	reasonUnknownPeer = "unknown_peer"
	reasonLobbyFull   = "too_many_held"
	reasonProbe       = "probe"
	reasonPeerRemoved = "peer_removed"
)

var (
	refusalReasons = []string{reasonOwnAddress, reasonTooMany, reasonDraining, reasonGateClosed, reasonUnknownPeer,
		reasonLobbyFull, reasonProbe}
	closeReasons = []string{reasonForeign, reasonLineTooLong, reasonSlowReader, reasonSlowWriter,
		reasonNoMemory, reasonPanic, reasonIdle, reasonProbe, reasonPeerRemoved, reasonGateClosed}
)

// reasonCounts counts events by reason. The set of reasons is fixed when it is made.
type reasonCounts map[string]*atomic.Uint64

func newReasonCounts(reasons []string) reasonCounts {
	c := make(reasonCounts, len(reasons))
	for _, r := range reasons {
		c[r] = new(atomic.Uint64)
	}
	return c
}
