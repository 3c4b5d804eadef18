// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

func (e *Engine) hash(key []byte) uint64 { return e.key.sum(key) }

// Apply does one change in one atomic step. It keeps no reference to m or what m points to.
func (e *Engine) Apply(m *Mutation) Result {
	now := e.tick()
	h := e.hash(m.Key)
	p := e.partition(h)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return Result{Outcome: OutOfMemory}
	}
	res, need := p.apply(m, h, now)
	p.settle(now)
	p.mu.Unlock()
	if need > 0 {
		return e.applyBig(p, m, h, need)
	}
	return res
}

// settle leaves the partition as the next operation wants it. Where memory is short it pays for what
// was written by emptying a little of the next segment.
func (p *partition) settle(now int64) {
	if p.spares > keepSpares {
		p.trim(keepSpares)
	} else if p.spares < keepSpares && p.pool.room.Load() <= 0 {
		p.reclaim(16, now)
	}
}

// applyBig gathers room from all partitions, and then tries again.
func (e *Engine) applyBig(p *partition, m *Mutation, h uint64, need int) Result {
	e.big.Lock()
	defer e.big.Unlock()
	for range 4 {
		// Close takes e.big before it unmaps, so what is open here stays open until the end.
		if p.isClosed() {
			break
		}
		list := e.gather(need + 1)
		if list == 0 {
			break
		}
		now := e.tick()
		p.mu.Lock()
		p.accept(list)
		res, more := p.apply(m, h, now)
		p.settle(now)
		p.mu.Unlock()
		if more == 0 {
			return res
		}
		// The item grew meanwhile, or others were faster.
		need = max(more, need+1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refuse(m, h, OutOfMemory, e.tick())
}

// apply does a change under the lock. If it needs more units than the partition can make free, it
// changes nothing and returns how many.
func (p *partition) apply(m *Mutation, h uint64, now int64) (res Result, need int) {
	var buf [maxDigits]byte
	for {
		at, hd := p.lookup(h, m.Key, now)
		if hd == nil {
			if outcome, stop := withoutItem(m); stop {
				return Result{Outcome: outcome}, 0
			}
		} else if outcome, stop := withItem(m, hd.cas); stop {
			if m.Verb == Add {
				p.use(at, hd, now)
			}
			return Result{Outcome: outcome}, 0
		}
		w := write{hash: h, key: m.Key, vlen: len(m.Value), flags: m.Flags}
		switch m.Verb {
		case Touch:
			return p.touch(m, at, hd, now), 0
		case Delete:
			p.removeItem(at)
			return Result{Outcome: Deleted}, 0
		case Increment, Decrement:
			var digits []byte
			if res, digits = p.count(m, at, hd, now, &buf); digits == nil {
				return res, 0
			}
			p.keep(&w, at, hd)
			w.vlen, w.src.before = len(digits), digits
			w.bits = hd.bits & bitFetched
		case Append:
			p.keep(&w, at, hd)
			w.src.setOld(p.a, slotRef(*at.slot))
			w.src.after = m.Value
			w.vlen += int(hd.vlen)
		case Prepend:
			p.keep(&w, at, hd)
			w.src.setOld(p.a, slotRef(*at.slot))
			w.src.before = m.Value
			w.vlen += int(hd.vlen)
		default:
			w.src.before = m.Value
			w.exp = p.e.expiry(m.Expires)
		}
		put, need, again := p.put(m, &w, at, hd, now)
		if again {
			continue
		}
		if put.Outcome == Stored {
			put.Number = res.Number
		}
		return put, need
	}
}

// withoutItem decides what needs no item to be decided.
func withoutItem(m *Mutation) (outcome Outcome, stop bool) {
	switch m.Verb {
	case Set:
		return NotFound, m.CAS != 0
	case Add:
		return Stored, false
	case Replace, Append, Prepend:
		return NotStored, true
	default:
		return NotFound, true
	}
}

// withItem decides what the existing item's CAS decides.
func withItem(m *Mutation, cas uint64) (outcome Outcome, stop bool) {
	if m.Verb == Add {
		return NotStored, true
	}
	return Exists, m.CAS != cas && (m.CAS != 0 || m.Verb == CompareAndSwap)
}

// keep lets a new item have the old one's flags and expiry.
func (p *partition) keep(w *write, at place, h *header) {
	w.flags, w.exp = p.a.flags(slotRef(*at.slot), h), h.exp
}

func (p *partition) touch(m *Mutation, at place, h *header, now int64) Result {
	h.exp = p.e.expiry(m.Expires)
	p.noteExpiry(slotRef(*at.slot), h.exp)
	p.use(at, h, now)
	return Result{Outcome: Touched, CAS: h.cas}
}

// put stores w in place of the item at, if there is one. again means that making room may have moved
// or removed that item, so that everything must be decided anew.
func (p *partition) put(m *Mutation, w *write, at place, hd *header, now int64) (res Result, need int, again bool) {
	if len(w.key) > MaxKeyLen || ItemSize(len(w.key), w.vlen, w.flags) > p.e.maxItem {
		return p.refuse(m, w.hash, TooLarge, now), 0, false
	}
	if hd != nil && w.src.a == nil {
		if p.overwrite(slotRef(*at.slot), hd, w, now) {
			p.n.total++
			p.use(at, hd, now)
			return Result{Outcome: Stored, CAS: hd.cas}, 0, false
		}
	}
	q := p.queueFor(w, at, hd)
	need = p.unitsNeeded(wholeSize(len(w.key), w.vlen, w.flags), p.room(q))
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
	if need = p.unitsNeeded(wholeSize(len(w.key), w.vlen, w.flags), p.room(q)); p.spares < need+1 {
		return Result{}, 0, true
	}
	cas := p.e.cas.Add(1)
	r := p.store(w, q, cas, now)
	if r == 0 {
		return p.refuse(m, w.hash, OutOfMemory, now), 0, false
	}
	if !p.link(w, at, hd, r) {
		p.killItem(r)
		return p.refuse(m, w.hash, OutOfMemory, now), 0, false
	}
	p.n.total++
	return Result{Outcome: Stored, CAS: cas}, 0, false
}

// queueFor is the queue for a new record: where the old one was; the main queue for keys that were
// evicted too early before, and for what would flood the small queue; else the small one.
func (p *partition) queueFor(w *write, at place, hd *header) int {
	if hd != nil {
		return int(p.a.desc(p.a.unitOf(slotRef(*at.slot))).queue)
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
		if p.idx.insert(p.idx.home(w.hash), makeSlot(w.hash, 0, r)) == nil {
			return false
		}
		p.idx.items++
		p.n.items++
	} else {
		old := slotRef(*at.slot)
		p.n.bytes -= p.a.itemSize(old, hd)
		f := min(slotFreq(*at.slot)+1, freqMax)
		*at.slot = withFreq(withRef(*at.slot, r), f)
		p.killItem(old)
	}
	p.n.bytes += int64(ItemSize(len(w.key), w.vlen, w.flags))
	return true
}

// refuse ends a mutation that cannot store. A Set removes the old item: nobody must read on what the
// client wanted replaced.
func (p *partition) refuse(m *Mutation, h uint64, outcome Outcome, now int64) Result {
	if outcome == TooLarge {
		p.n.tooLarge++
	} else {
		p.n.outOfMemory++
	}
	if p.closed {
		return Result{Outcome: outcome}
	}
	if m.Verb == Set {
		if at, hd := p.lookup(h, m.Key, now); hd != nil {
			p.removeItem(at)
		}
	}
	return Result{Outcome: outcome}
}
