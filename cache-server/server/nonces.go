// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxNonces is how many nonces of probes are kept.
const maxNonces = 64

// nonces are those of the probes that reached the server, the last ones.
type nonces struct {
	total atomic.Uint64
	mu    sync.Mutex
	last  []string
}

func (n *nonces) note(nonce string) {
	n.total.Add(1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.last) == maxNonces {
		n.last = slices.Delete(n.last, 0, 1)
	}
	n.last = append(n.last, nonce)
}

// Nonces returns the nonces of the probes that have reached a cache port, whether the lock admits them or not, the
// last of them last; at most 64.
func (s *Server) Nonces() []string {
	s.nonces.mu.Lock()
	defer s.nonces.mu.Unlock()
	return slices.Clone(s.nonces.last)
}

// changesPeriod is how long one change keeps the next from being told: whoever can connect must not be able to keep
// the operator busy.
const changesPeriod = 50 * time.Millisecond

// changes tells others that there is something new: at once, and what follows soon after in one go.
type changes struct {
	mu      sync.Mutex
	ch      chan struct{}
	last    time.Time
	waiting bool
}

// next is closed with the next change.
func (c *changes) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ch == nil {
		c.ch = make(chan struct{})
	}
	return c.ch
}

func (c *changes) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting {
		return
	}
	if wait := changesPeriod - time.Since(c.last); wait > 0 {
		c.waiting = true
		time.AfterFunc(wait, c.tellNow)
		return
	}
	c.close()
}

func (c *changes) tellNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
	c.close()
}

func (c *changes) close() {
	c.last = time.Now()
	if c.ch != nil {
		close(c.ch)
		c.ch = nil
	}
}

// Changed returns a channel that is closed with the next change of the gate, the peers, the addresses held, or the
// nonces. Take it before you look at them.
func (s *Server) Changed() <-chan struct{} {
	return s.changes.next()
}
