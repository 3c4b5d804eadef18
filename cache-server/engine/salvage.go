// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "sync/atomic"

// Loss tells of items that were dropped because their memory failed its checksum after a restart.
type Loss struct {
	// Units is how many units of the arena failed.
	Units int
	// Items is how many items went with them.
	Items int64
}

// salvage takes units that failed their checksum out of a partition, and with them every item that has so
// much as a part in one. It looks at all of the partition, which is bearable because it happens hardly ever.
// Units of the index cannot be told from the rest of it, so the partition then begins anew.
func (p *partition) salvage() {
	p.verifyAll()
	loss := Loss{Units: len(p.bad), Items: p.n.items}
	bad := make(map[unit]bool, len(p.bad))
	whole := true
	for _, u := range p.bad {
		bad[u] = true
		whole = whole && p.a.desc(u).state != unitIndex
	}
	if whole {
		p.dropOrphans(bad, p.dropTorn(bad))
		p.bad = nil
		for u := range bad {
			p.discard(u)
		}
	} else {
		p.bad = nil
		p.reset(bad)
	}
	loss.Items -= p.n.items
	p.n.lostItems += uint64(loss.Items)
	p.n.lostUnits += uint64(loss.Units)
	if p.e.onLoss != nil {
		p.e.onLoss(loss)
	}
}

// eachUnit calls fn for the units whose content matters.
func (p *partition) eachUnit(fn func(unit)) {
	for _, u := range p.idx.dir {
		fn(u)
	}
	p.eachSegment(fn)
}

// eachSegment calls fn for every segment, which may take it out of its list.
func (p *partition) eachSegment(fn func(unit)) {
	for q := range p.queues {
		for u := p.queues[q].oldest; u != 0; {
			next := p.a.desc(u).next
			fn(u)
			u = next
		}
		if u := p.open[q]; u != 0 {
			fn(u)
		}
	}
	if u := p.drain.unit; u != 0 {
		fn(u)
	}
}

func (p *partition) verifyAll() { p.eachUnit(p.a.verify) }

// dropTorn removes items with a part in a bad unit, counts those that stay, and returns their fragments.
func (p *partition) dropTorn(bad map[unit]bool) map[ref]bool {
	reached := make(map[ref]bool)
	p.holdNothing()
	for at := range p.idx.physical() {
		b := p.idx.bucket(at)
		for i := 1; i <= slotsPer; i++ {
			s := b.slot(i)
			if s == 0 {
				continue
			}
			r := p.a.slotRef(s)
			if bad[p.a.unitOf(r)] {
				// Whose it was is not known any more, so the buckets that it passed go on counting it.
				b.setSlot(i, 0)
				p.excess = true
				continue
			}
			h := p.a.header(r)
			if h.isChain() && p.isTorn(h, bad) {
				b.setSlot(i, 0)
				p.excess = true
				p.kill(r)
				continue
			}
			if h.isChain() {
				for next := h.chain(); next != 0; next = p.a.fragment(next).next() {
					reached[next] = true
				}
			}
			p.idx.items++
			p.account(h.itemSize(), 1)
		}
	}
	return reached
}

// holdNothing sets what is counted of the items to 0.
func (p *partition) holdNothing() {
	p.idx.items, p.n.items, p.n.bytes = 0, 0, 0
	for i := range p.classes {
		p.classes[i].Items, p.classes[i].Bytes = 0, 0
	}
}

// isTorn tells whether the value of an item goes on in a bad unit.
func (p *partition) isTorn(h *header, bad map[unit]bool) bool {
	for next := h.chain(); next != 0; next = p.a.fragment(next).next() {
		if bad[p.a.unitOf(next)] {
			return true
		}
	}
	return false
}

// dropOrphans kills the fragments whose items are gone.
func (p *partition) dropOrphans(bad map[unit]bool, reached map[ref]bool) {
	p.eachSegment(func(u unit) {
		if bad[u] {
			return
		}
		d := p.a.desc(u)
		for at := uint32(0); at < d.used; {
			r := p.a.start(u) + ref(at)
			at += p.a.recordSize(r)
			if h := p.a.header(r); h.isFragment() && !h.has(bitDead) && !reached[r] {
				last := d.records == 1
				p.kill(r)
				if last {
					return // the unit may be another's now
				}
			}
		}
	})
}

// discard frees a bad segment.
func (p *partition) discard(u unit) {
	d := p.a.desc(u)
	switch {
	case p.drain.unit == u:
		p.drain = drain{}
	case d.state == unitOpen:
		p.open[d.queue] = 0
	case d.state == unitSealed:
		p.unlink(u)
	}
	if p.cleanAt == u {
		p.cleanAt = 0
	}
	p.freeSegment(u)
}

// reset drops all items of the partition. Its units but two go to the pool.
func (p *partition) reset(bad map[unit]bool) {
	// Bad units may be in no list any more.
	p.eachUnit(func(u unit) { bad[u] = true })
	for u := range bad {
		p.a.forgo(u)
		if d := p.a.desc(u); d.pins > 0 {
			atomic.StoreUint32(&d.state, unitPinned) // unpin gives it
			continue
		}
		p.pushSpare(u)
	}
	p.holdNothing()
	p.queues, p.open, p.drain = [2]queue{}, [2]unit{}, drain{}
	p.dead, p.laps, p.cleanAt, p.excess = 0, 0, 0, false
	first := p.takeSpare()
	p.idx.init(p.a, first)
	p.own(first)
	p.trim(max(1, p.wanted))
}
