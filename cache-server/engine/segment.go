// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "sync/atomic"

// room is what is left in the open segment of a queue.
func (p *partition) room(q int) uint32 {
	u := p.open[q]
	if u == 0 {
		return 0
	}
	d := p.a.desc(u)
	if !d.takes(p.e.cas.Load()) {
		return 0
	}
	return p.a.unitSize() - d.used
}

// append takes room for a record at the head of a queue. It returns 0 only if the arena is used up.
func (p *partition) append(q int, size uint32) ref {
	if p.room(q) < size {
		p.seal(q)
		u := p.takeSpare()
		if u == 0 {
			return 0
		}
		d := p.a.desc(u)
		// Nothing pins a spare.
		*d = unitDesc{
			state: unitOpen, queue: uint8(q), part: p.id, seq: d.seq + 1,
			base: past(p.e.cas.Load(), versionPast), born: uint32(past(uint64(p.e.since(p.e.Now())), seenPast)),
		}
		p.open[q] = u
		p.queues[q].units++
	}
	u := p.open[q]
	d := p.a.desc(u)
	r := p.a.start(u) + ref(d.used)
	d.used += size
	d.live += size
	d.records++
	d.largest = max(d.largest, size)
	return r
}

// past is so much before n, or 0.
func past(n, much uint64) uint64 { return n - min(n, much) }

// seal closes the open segment of a queue.
func (p *partition) seal(q int) {
	u := p.open[q]
	if u == 0 {
		return
	}
	p.open[q] = 0
	d := p.a.desc(u)
	if d.records == 0 {
		p.freeSegment(u)
		return
	}
	atomic.StoreUint32(&d.state, unitSealed)
	p.pushNewest(q, u)
}

func (p *partition) pushNewest(q int, u unit) {
	l := &p.queues[q]
	d := p.a.desc(u)
	d.prev, d.next = l.newest, 0
	if l.newest != 0 {
		p.a.desc(l.newest).next = u
	} else {
		l.oldest = u
	}
	l.newest = u
}

func (p *partition) unlink(u unit) {
	d := p.a.desc(u)
	l := &p.queues[d.queue]
	if d.prev != 0 {
		p.a.desc(d.prev).next = d.next
	} else {
		l.oldest = d.next
	}
	if d.next != 0 {
		p.a.desc(d.next).prev = d.prev
	} else {
		l.newest = d.prev
	}
	d.prev, d.next = 0, 0
}

// freeSegment frees a segment without live records that is in no list.
func (p *partition) freeSegment(u unit) {
	d := p.a.desc(u)
	if p.isBad(u) {
		// The index may point into it still, so it must not be used again before salvage.
		atomic.StoreUint32(&d.state, unitDraining)
		return
	}
	p.a.forgo(u)
	p.dead -= int64(d.used - d.live)
	p.queues[d.queue].units--
	if d.pins > 0 {
		atomic.StoreUint32(&d.state, unitPinned) // unpin gives it
		return
	}
	p.giveUnit(u)
}

// kill marks one record dead. A sealed segment whose last record dies is free at once.
func (p *partition) kill(r ref) {
	h := p.a.header(r)
	size := p.a.recordSize(r)
	h.set(bitDead)
	u := p.a.unitOf(r)
	d := p.a.desc(u)
	d.live -= size
	d.records--
	p.dead += int64(size)
	if d.records == 0 && d.state == unitSealed {
		p.unlink(u)
		p.freeSegment(u)
	}
}

// killItem marks an item's record and all its fragments dead.
func (p *partition) killItem(r ref) {
	var next ref
	if h := p.a.header(r); h.isChain() {
		next = h.chain()
	}
	p.kill(r)
	for next != 0 {
		r = next
		next = p.a.fragment(r).next()
		p.kill(r)
	}
}

// noteExpiry keeps the earliest expiry of the segment that holds r.
func (p *partition) noteExpiry(r ref, exp uint32) {
	if exp == 0 {
		return
	}
	if d := p.a.desc(p.a.unitOf(r)); d.minExp == 0 || exp < d.minExp {
		d.minExp = exp
	}
}
