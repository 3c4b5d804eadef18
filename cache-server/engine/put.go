// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

// put stores w in place of the item at, if there is one. again means that making room may have moved
// or removed that item, so that everything must be decided anew.
func (p *partition) put(m *Mutation, w *write, at place, hd *header, now int64) (res Result, need int, again bool) {
	if len(w.key) > MaxKeyLen || w.itemSize() > p.e.maxItem {
		return p.refuse(m, w.hash, TooLarge, now), 0, false
	}
	if hd == nil && p.isFull() {
		return p.refuse(m, w.hash, OutOfMemory, now), 0, false
	}
	if hd != nil && w.src.a == nil {
		if p.overwrite(p.idx.ref(at), hd, w, now) {
			p.use(at, hd, now)
			return p.stored(w, p.idx.ref(at), false), 0, false
		}
	}
	q := p.queueFor(w, at, hd)
	need = p.unitsNeeded(p.sizeOf(w), p.room(q))
	if p.spares < need+1 {
		if !p.makeRoom(need, now) {
			return Result{}, need, false
		}
		if hd != nil {
			return Result{}, 0, true
		}
	}
	if hd == nil && !p.indexRoom(now) {
		return p.refuse(m, w.hash, OutOfMemory, now), 0, false
	}
	// Room in the index may have cost the room for the item.
	if need = p.unitsNeeded(p.sizeOf(w), p.room(q)); p.spares < need+1 {
		return Result{}, 0, true
	}
	r := p.store(w, q, now)
	if r == 0 {
		return p.refuse(m, w.hash, OutOfMemory, now), 0, false
	}
	if !p.link(w, at, hd, r) {
		p.killItem(r)
		return p.refuse(m, w.hash, OutOfMemory, now), 0, false
	}
	return p.stored(w, r, hd == nil), 0, false
}

// stored is the answer of a mutation that stored w at r.
func (p *partition) stored(w *write, r ref, created bool) Result {
	if !w.rewrites {
		p.n.total++
	}
	it := p.item(r, p.a.header(r))
	return Result{Outcome: Stored, CAS: it.CAS, Item: it, Created: created}
}

// queueFor is the queue for a new record: where the old one was; the main queue for keys that were
// evicted too early before, and for what would flood the small queue; else the small one.
func (p *partition) queueFor(w *write, at place, hd *header) int {
	if hd != nil {
		return int(p.a.desc(p.a.unitOf(p.idx.ref(at))).queue)
	}
	if uint64(w.vlen) > uint64(p.units.Load()/smallShare)<<p.a.shift && uint64(w.vlen) > uint64(p.a.unitSize()) {
		return queueMain
	}
	if p.idx.haunted(w.hash) {
		return queueMain
	}
	return queueSmall
}

// makeRoom makes sure of the units for a record and one more. Large values are left to gather.
func (p *partition) makeRoom(need int, now int64) bool {
	if need > keepSpares {
		for p.spares < need+1 {
			if !p.fetch() {
				return false
			}
		}
		return true
	}
	return p.ensure(need+1, now)
}

// link makes the index point to a new record, and kills the old one.
func (p *partition) link(w *write, at place, hd *header, r ref) bool {
	if hd == nil {
		p.idx.exorcise(w.hash)
		if !p.idx.insert(p.idx.home(w.hash), p.a.makeSlot(p.a.hashTag(w.hash), 0, r)) {
			return false
		}
		p.idx.items++
	} else {
		old := p.idx.ref(at)
		p.account(hd.itemSize(), -1)
		p.idx.setFreq(at, min(p.idx.freq(at)+1, freqMax))
		p.idx.setRef(at, r)
		p.killItem(old)
	}
	p.account(int64(w.itemSize()), 1)
	return true
}

// refuse ends a mutation that cannot store. A Set removes the old item: nobody must read on what the
// client wanted replaced, nor for longer than it wanted.
func (p *partition) refuse(m *Mutation, h uint64, outcome Outcome, now int64) Result {
	if outcome == TooLarge {
		p.n.tooLarge++
	} else {
		p.n.outOfMemory++
		p.class(ItemSize(len(m.Key), m.ValueLen(), m.Flags)).OutOfMemory++
		p.e.full.Store(p.e.noEvict)
	}
	if p.closed {
		return Result{Outcome: outcome}
	}
	if m.Verb == Set || m.Verb == makeExpire || m.Verb == Touch {
		if at, hd := p.lookup(h, m.Key, now); hd != nil {
			p.removeItem(at)
		}
	}
	return Result{Outcome: outcome}
}
