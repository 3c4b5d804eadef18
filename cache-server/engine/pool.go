// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// pool hands out the arena's units within the budget.
type pool struct {
	a  *arena
	mu sync.Mutex
	// resident are free units whose memory is committed, returned ones have been given back.
	resident, returned unit
	residentN          int64
	high               unit  // units ever handed out
	used               int64 // units that may be resident: held by partitions, or free and resident
	budget             int64 // bytes
	// ceiling is where a backing turned out to have no more room, in bytes; 0 if that was not seen.
	ceiling    int64
	overdrafts uint64
	parts      int64
	// Hints that are read without the lock: units that can still be handed out, and how many each
	// partition has if all have the same.
	room, share atomic.Int64
	bytes       atomic.Int64 // the budget, to be read without the lock
}

// metaBytes is what the descriptors of the first n units occupy.
func metaBytes(n unit) int64 {
	page := int64(unix.Getpagesize())
	return ((int64(n)+1)*int64(descSize) + page - 1) &^ (page - 1)
}

func (p *pool) cost(used int64, high unit) int64 { return used<<p.a.shift + metaBytes(high) }

// limit is how many units the budget allows: with the descriptor of one more, or without it all that are used.
func (p *pool) limit() int64 {
	budget := p.budget
	if p.ceiling > 0 {
		budget = min(budget, p.ceiling)
	}
	fit := min(p.used, (budget-metaBytes(p.high))>>p.a.shift)
	return max(0, fit, (budget-metaBytes(p.high+1))>>p.a.shift)
}

func (p *pool) updateRoom() {
	limit := p.limit()
	p.room.Store(limit - p.used + p.residentN)
	p.share.Store(limit / p.parts)
}

// alloc hands out a unit or 0. force lets it exceed the budget, so that an operation under way can
// always end; the surplus is given back as soon as a unit is freed.
func (p *pool) alloc(force bool) unit {
	if !force && p.room.Load() <= 0 {
		return 0
	}
	u, fresh := p.take(force)
	if fresh && p.a.commit(u) != nil {
		p.exhausted(u)
		return 0
	}
	return u
}

// take takes a unit from a list, or a fresh one, whose memory is not committed yet.
func (p *pool) take(force bool) (u unit, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.updateRoom()
	// Above the budget free units are still to be given back, but those that fit may be used again.
	fits := p.used-p.residentN < p.limit()
	if u := p.resident; u != 0 && (fits || force) {
		p.resident = p.a.desc(u).next
		p.residentN--
		return u, false
	}
	if p.used+1 > p.limit() {
		if !force {
			return 0, false
		}
		p.overdrafts++
	}
	u = p.returned
	switch {
	case u != 0:
		p.returned = p.a.desc(u).next
	case p.high < p.a.units && p.a.describe(p.high+1) == nil:
		p.high++
		u = p.high
	default:
		// A backing may be out of room for descriptors alone.
		if p.a.backing != nil {
			p.ceiling = p.cost(p.used, p.high)
		}
		return 0, false
	}
	p.used++
	return u, true
}

// exhausted takes back a unit for which the backing had no room, and asks for no more than there is.
func (p *pool) exhausted(u unit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.a.desc(u).next = p.returned
	p.returned = u
	p.used--
	p.ceiling = p.cost(p.used, p.high)
	p.updateRoom()
}

// free takes a unit back. Its memory stays resident and counted: giving it back to the kernel may take
// long, and the caller holds a partition's lock. The keeper does that if the budget is exceeded.
func (p *pool) free(u unit) {
	d := p.a.desc(u)
	atomic.StoreUint32(&d.state, unitFree)
	p.mu.Lock()
	defer p.mu.Unlock()
	d.next = p.resident
	p.resident = u
	p.residentN++
	p.updateRoom()
}

// giveBack returns the memory of a unit that is in no list.
func (p *pool) giveBack(u unit) {
	err := p.a.release(u)
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.a.desc(u)
	if err != nil {
		// Still resident, so it must stay counted.
		d.next = p.resident
		p.resident = u
		p.residentN++
	} else {
		d.next = p.returned
		p.returned = u
		p.used--
	}
	p.updateRoom()
}

// shed gives one free resident unit back if the budget is exceeded. It reports whether more is to do.
func (p *pool) shed() (over, done bool) {
	p.mu.Lock()
	over = p.used > p.limit()
	u := p.resident
	if !over || u == 0 {
		p.mu.Unlock()
		return over, false
	}
	p.resident = p.a.desc(u).next
	p.residentN--
	p.updateRoom()
	p.mu.Unlock()
	p.giveBack(u)
	return true, true
}

// over tells whether more is used than the budget allows.
func (p *pool) over() bool {
	return p.room.Load() < 0
}

func (p *pool) setBudget(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget, p.ceiling = bytes, 0
	p.bytes.Store(bytes)
	p.updateRoom()
}

func (p *pool) sizes() (budget, mapped int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.budget, p.cost(p.used, p.high)
}
