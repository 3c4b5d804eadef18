// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "sync/atomic"

const (
	// promoteFreq is how often an item of the small queue must have been used again to move to the main one.
	promoteFreq = 1
	// smallShare is the share of the small queue in a partition's segments: one in this many.
	smallShare = 10
	// maxLaps is how many segments may be drained for little room before items go regardless of use.
	maxLaps = 8
	// cleanShare is how much of a partition must be dead for it to be cleaned: one in this many.
	cleanShare = 16
	// cleanWindow is how many segments one search for dead room looks at.
	cleanWindow = 64
)

// drain is the segment that is being emptied. First every item is judged: evicted, or spared with its
// use counter lowered. What is spared is then moved to the head of the main queue, or the whole
// segment is, if too little of it died.
type drain struct {
	unit    unit
	cursor  uint32
	copying bool
	clean   bool // nothing is evicted, the live records are moved together
	opened  bool // moving its records opened another segment, so that it gains no unit
}

// reclaim empties segments, at most so many records further. It returns false if there is nothing
// that could be emptied.
func (p *partition) reclaim(records int, now int64) bool {
	p.mend() // a segment that failed its checksum has records that nothing would empty it of
	if p.drain.unit == 0 && !p.startDrain() {
		return false
	}
	d := p.a.desc(p.drain.unit)
	start := p.a.start(p.drain.unit)
	for ; records > 0 && p.drain.cursor < d.used && d.records > 0; records-- {
		r := start + ref(p.drain.cursor)
		p.work++
		// The size is read first: a fragment or item that goes keeps it, one that moves loses its slack.
		p.drain.cursor += p.a.recordSize(r)
		switch {
		case p.a.header(r).has(bitDead):
		case p.drain.copying:
			p.relocate(r, d)
		default:
			p.judge(r, d, now)
		}
	}
	if d.records == 0 {
		p.endDrain()
	} else if p.drain.cursor >= d.used {
		p.turnDrain(d)
	}
	return true
}

// startDrain picks the next segment to empty.
func (p *partition) startDrain() bool {
	u, clean := p.pickDead(), true
	if u == 0 {
		u, clean = p.pickOldest(), false
	}
	if u == 0 {
		return false
	}
	p.unlink(u)
	atomic.StoreUint32(&p.a.desc(u).state, unitDraining)
	p.drain = drain{unit: u, clean: clean, copying: clean}
	return true
}

// pickOldest is the oldest segment of the small queue while that has its share, else of the main one.
func (p *partition) pickOldest() unit {
	small, main := &p.queues[queueSmall], &p.queues[queueMain]
	if small.oldest == 0 && main.oldest == 0 {
		p.seal(queueSmall)
		if small.oldest == 0 {
			p.seal(queueMain)
		}
	}
	if small.oldest != 0 && (main.oldest == 0 || small.units*smallShare >= small.units+main.units) {
		return small.oldest
	}
	return main.oldest
}

// pickDead is a segment with much dead room, if there is one within the next few: moving its live
// records together makes room without evicting anything.
func (p *partition) pickDead() unit {
	size := p.a.unitSize()
	if p.dead*cleanShare < p.units.Load()*int64(size) || p.spares < 1 {
		return 0
	}
	u := p.cleanAt
	if d := p.a.desc(u); u == 0 || d.state != unitSealed || d.part != p.id {
		u = p.queues[queueMain].oldest
	}
	var best unit
	most := size / 4
	for range cleanWindow {
		if u == 0 {
			u = p.queues[queueSmall].oldest
		}
		if u == 0 {
			break
		}
		d := p.a.desc(u)
		if dead := d.used - d.live; dead > most {
			best, most = u, dead
		}
		if u = d.next; u == 0 && d.queue == queueSmall {
			u = p.queues[queueMain].oldest
		}
	}
	p.cleanAt = u
	return best
}

// turnDrain goes on after the last record was judged.
func (p *partition) turnDrain(d *unitDesc) {
	size := p.a.unitSize()
	if d.live+d.largest+size/8 <= size {
		p.drain.copying, p.drain.cursor = true, 0
		return
	}
	// Too little died: moving the whole segment costs nothing, and it comes by again.
	u := p.drain.unit
	p.queues[d.queue].units--
	d.queue = queueMain
	p.queues[queueMain].units++
	atomic.StoreUint32(&d.state, unitSealed)
	p.pushNewest(queueMain, u)
	p.drain = drain{}
	p.laps++
}

// endDrain frees the emptied segment.
func (p *partition) endDrain() {
	u := p.drain.unit
	if p.drain.opened {
		p.laps++
	} else {
		p.laps = 0
	}
	p.drain = drain{}
	p.freeSegment(u)
}

// judge decides on one live record of a segment that is to be emptied.
func (p *partition) judge(r ref, d *unitDesc, now int64) {
	force, spare := p.laps >= maxLaps, p.sparing()
	if spare {
		force = false
	}
	h := p.a.header(r)
	if h.isFragment() {
		// A fragment follows its item, and stands in the way only of a last resort.
		if force {
			if at := p.idx.findOwner(p.a.fragment(r).owner()); at.found() {
				p.evict(at)
			}
		}
		return
	}
	hash := p.hash(h.key())
	at := p.idx.findRef(hash, r)
	if !at.found() {
		return
	}
	freq := p.idx.freq(at)
	switch {
	case p.gone(r, h, now):
		p.countReclaimed(h)
		p.removeItem(at)
	case spare:
	case force:
		p.evict(at)
	case d.queue == queueSmall && freq >= promoteFreq:
		p.idx.setFreq(at, 0)
	case d.queue == queueSmall:
		p.idx.haunt(hash)
		p.evict(at)
	case freq > 0:
		p.idx.setFreq(at, freq-1)
	default:
		p.evict(at)
	}
}

// sparing tells whether nothing may be evicted: that was asked for, and the budget has not fallen.
func (p *partition) sparing() bool {
	return p.e.noEvict && !p.e.pool.over()
}

// isFull tells whether what is new is refused at once. The last units count for nothing: see fetch.
func (p *partition) isFull() bool {
	return p.e.full.Load() && p.sparing() && p.pool.room.Load() <= int64(len(p.e.parts))
}

func (p *partition) evict(at place) {
	r := p.idx.ref(at)
	h := p.a.header(r)
	p.countEvicted(r, h)
	if fn := p.e.onEvict.Load(); fn != nil {
		it := p.item(r, h)
		(*fn)(h.key(), &it)
	}
	p.removeItem(at)
}

// moveTo takes room for a record that moves. It returns 0 where a segment would have to be opened and there
// is no unit left for it: emptying segments whose units are pinned makes none free.
func (p *partition) moveTo(q int, size uint32) ref {
	if p.room(q) < size {
		if p.spares == 0 && !p.fetch() {
			return 0
		}
		p.drain.opened = true
	}
	return p.append(q, size)
}

// relocate moves one live record out of a segment that is being emptied.
func (p *partition) relocate(r ref, d *unitDesc) {
	h := p.a.header(r)
	q := queueMain
	if p.drain.clean {
		q = int(d.queue)
	}
	if h.isFragment() {
		p.relocateFragment(r, q)
		return
	}
	hash := p.hash(h.key())
	at := p.idx.findRef(hash, r)
	if !at.found() {
		return
	}
	size := h.valueOffset() + h.size()
	to := p.moveTo(q, p.a.align(size))
	version := p.a.version(r, h)
	if to == 0 {
		p.evict(at)
		return
	}
	copy(p.a.bytes(to, size), p.a.bytes(r, size))
	moved := p.a.header(to)
	moved.unset(bitSlack)
	p.a.setSeen(to, moved, p.a.seen(r, h))
	if h.isChain() {
		p.a.fragment(h.chain()).setPrev(to)
	}
	p.noteExpiry(to, h.exp())
	p.idx.setRef(at, to)
	p.kill(r)
	if base := p.a.desc(p.a.unitOf(to)).base; version < base {
		p.evict(at) // too old to be told from others there
		return
	}
	p.a.setVersion(to, moved, version)
}

func (p *partition) relocateFragment(r ref, q int) {
	f := p.a.fragment(r)
	size := p.a.recordSize(r)
	to := p.moveTo(q, size)
	if to == 0 {
		if at := p.idx.findOwner(f.owner()); at.found() {
			p.evict(at)
		}
		return
	}
	copy(p.a.bytes(to, size), p.a.bytes(r, size))
	p.a.setNext(f.prev(), to)
	if next := f.next(); next != 0 {
		p.a.fragment(next).setPrev(to)
	}
	p.kill(r)
}
