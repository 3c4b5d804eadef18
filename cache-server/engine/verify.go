// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"sync"
	"time"
)

// unverified are the units of a partition of a reattached arena whose checksums are still to be compared.
// Every access to a record or bucket compares them first, so that attaching takes no longer for more data.
type unverified struct {
	p    *partition
	sums []uint32 // of all units
	// pending tells which units are left. All partitions share it; the lock that covers a unit covers its
	// entry.
	pending []bool
	left    int // how many of this partition's units are pending
}

// isSummed tells whether a unit's content outlives a seal.
func isSummed(state uint32) bool { return state >= unitIndex && state <= unitDraining }

// sum is the checksum of what is in use of a unit.
func (a *arena) sum(u unit) uint32 {
	d := a.desc(u)
	n := a.unitSize()
	if d.state != unitIndex {
		n = min(n, d.used)
	}
	return checksum(a.bytes(a.start(u), n))
}

// verify compares a unit's checksum before its first use. What fails is cleared at once, so that nobody can
// take it for data: empty buckets, and records with no key. The partition mends itself before it answers.
func (a *arena) verify(u unit) {
	if l := a.lazy; a.forgo(u) && a.sum(u) != l.sums[u] {
		a.clear(u)
		l.p.bad = append(l.p.bad, u)
	}
}

// verifyAt is kept out of line so that header and fragment are not.
//
//go:noinline
func (a *arena) verifyAt(r ref) { a.verify(a.unitOf(r)) }

// forgo ends the wait for a unit. It reports whether the unit was not verified yet.
func (a *arena) forgo(u unit) bool {
	l := a.lazy
	if l == nil || int(u) >= len(l.pending) || !l.pending[u] {
		return false
	}
	l.pending[u] = false
	if l.left--; l.left == 0 {
		a.lazy = nil
	}
	return true
}

// verified makes sure that an item that was found is whole: the search verified its own record, not what
// its value goes on in.
func (p *partition) verified(h uint64, key []byte, at place, hd *header) (place, *header) {
	for {
		if hd != nil && hd.isChain() {
			for next := hd.chain(); next != 0; {
				next = p.a.fragment(next).next()
			}
		}
		if len(p.bad) == 0 {
			return at, hd
		}
		p.salvage()
		at, hd = p.idx.find(h, key)
	}
}

// isBad tells whether a unit failed its checksum and is still to be taken out.
func (p *partition) isBad(u unit) bool { return len(p.bad) > 0 && slices.Contains(p.bad, u) }

// mend takes out what failed its checksum during an operation.
func (p *partition) mend() {
	if len(p.bad) > 0 {
		p.salvage()
	}
}

// verifier verifies in the background what nobody has asked for yet.
type verifier struct {
	quit chan struct{}
	done sync.WaitGroup
	once sync.Once
}

func (v *verifier) start(e *Engine) {
	v.quit = make(chan struct{})
	v.done.Go(func() { v.run(e) })
}

func (v *verifier) stop() {
	if v.quit != nil {
		v.once.Do(func() { close(v.quit) })
		v.done.Wait()
	}
}

// run takes about a third of one processor, so that requests come first.
func (v *verifier) run(e *Engine) {
	for u := range e.pending {
		started := time.Now()
		if !e.verifyUnit(unit(u)) {
			continue
		}
		select {
		case <-v.quit:
			return
		case <-time.After(2 * time.Since(started)):
		}
	}
}

// verifyUnit verifies one unit under its partition's lock. It reports whether there was something to do.
func (e *Engine) verifyUnit(u unit) bool {
	id := int(e.arena.desc(u).part)
	if id >= len(e.parts) {
		return false
	}
	p := &e.parts[id]
	p.mu.Lock()
	defer p.mu.Unlock()
	// A unit that changed hands meanwhile has been verified.
	if p.closed || e.arena.desc(u).part != p.id || !e.pending[u] {
		return false
	}
	p.a.verify(u)
	p.mend()
	return true
}
