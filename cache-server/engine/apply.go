// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "strconv"

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
	p.countGiven(m)
	res, need := p.apply(m, h, now)
	p.countFound(m, &res)
	p.settle(now)
	p.mu.Unlock()
	if need > 0 {
		return e.applyBig(p, m, h, need)
	}
	return res
}

// settle leaves the partition as the next operation wants it. Where memory is short it pays for what
// was written by emptying as much of the next segment, so that what goes does so evenly.
func (p *partition) settle(now int64) {
	if p.spares > mostSpares {
		p.trim(mostSpares)
	} else if p.pool.room.Load() <= 0 {
		for range settleRecords {
			if p.free() >= int64(mostSpares)<<p.a.shift || !p.reclaim(1, now) {
				break
			}
		}
	}
	p.mend()
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
		p.countFound(m, &res)
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
	barrier, found := p.e.barrier.Load(), false
	for again := true; again; {
		at, hd := p.lookup(h, m.Key, now)
		found = hd != nil
		if hd == nil {
			if outcome, stop := withoutItem(m); stop {
				return Result{Outcome: outcome}, 0
			}
		} else if outcome, stop := withItem(m, p.a.cas(p.idx.ref(at), hd), hd); stop {
			switch m.Verb {
			case Add:
				p.use(at, hd, now)
			case CompareAndSwap:
				p.classAt(hd).CASBadval++
			default:
			}
			return Result{Outcome: outcome}, 0
		}
		res, need, again = p.change(m, h, at, hd, now)
	}
	if found && p.e.barrier.Load() != barrier {
		// The item was found before a flush began, and so it goes with it.
		if at, hd := p.lookup(h, m.Key, now); hd != nil {
			p.removeItem(at)
		}
	}
	return res, need
}

// withoutItem decides what needs no item to be decided.
func withoutItem(m *Mutation) (outcome Outcome, stop bool) {
	switch m.Verb {
	case Set:
		return NotFound, m.CAS != 0 || m.HasCAS
	case Add:
		return Stored, false
	case Append, Prepend:
		return NotStored, !m.Vivify
	case Replace:
		return NotStored, true
	case Increment, Decrement:
		return NotFound, !m.Vivify
	default:
		return NotFound, true
	}
}

// mostCounted is how large an item may be, as ItemSize counts, for memcached to look for a number in it.
const mostCounted = 512 << 10

// withItem decides what the existing item's CAS and shape decide.
func withItem(m *Mutation, cas uint64, hd *header) (outcome Outcome, stop bool) {
	swaps := m.Verb == CompareAndSwap
	switch {
	case m.Verb == Add:
		return NotStored, true
	case (m.Verb == Increment || m.Verb == Decrement) && (hd.vlen() == 0 || hd.itemSize() > mostCounted):
		return NonNumeric, true // memcached looks at this before the CAS
	case !swaps && !m.HasCAS && m.CAS == 0, m.CAS == cas && (!swaps || cas != 0):
		return Stored, false
	}
	return Exists, !m.outdated(cas)
}

// outdated tells whether a CompareAndSwap comes after the item was invalidated, and may store all the same.
func (m *Mutation) outdated(cas uint64) bool {
	return m.Verb == CompareAndSwap && m.Invalidate && m.CAS != 0 && m.CAS < cas
}

// change does what was decided to be done. again means that making room may have moved or removed the
// item, so that everything must be decided anew.
func (p *partition) change(m *Mutation, h uint64, at place, hd *header, now int64) (res Result, need int, again bool) {
	var buf [maxDigits]byte
	w := p.newWrite(m, h)
	switch m.Verb {
	case makeExpire:
		if !hd.has(bitExp) {
			return p.widen(m, h, bitExp, at, hd, now)
		}
		return Result{Outcome: Stored}, 0, false
	case Touch:
		return p.touch(m, h, at, hd, now)
	case Delete:
		switch {
		case m.DropValue:
			p.bury(&w, m, at, hd)
		case m.Invalidate:
			return p.invalidate(m, h, at, hd, now)
		default:
			p.classAt(hd).DeleteHits++
			p.removeItem(at)
			return Result{Outcome: Deleted}, 0, false
		}
	case Increment, Decrement:
		n, ok := p.count(m, hd)
		if !ok {
			return Result{Outcome: NonNumeric}, 0, false
		}
		digits := strconv.AppendUint(buf[:0], n, 10)
		w.number, w.vlen, w.src.given = n, len(digits), digits
		p.keepCounted(&w, m, hd)
		switch {
		case hd == nil || len(digits) > int(hd.vlen()):
		case hd.vlen() < SnapshotSize:
			return p.countInPlace(&w, m, at, hd, now)
		default: // somebody may hold the value
			w.vlen, w.src.blanks = int(hd.vlen()), int(hd.vlen())-len(digits)
			w.bits = w.bits&bitCAS | hd.state()
		}
	case Append, Prepend:
		if hd == nil {
			w.exp = p.e.expiry(m.VivifyExpires)
			break
		}
		p.keep(&w, hd)
		w.bits &^= bitBinary
		w.vlen += int(hd.vlen())
		w.src = p.joined(m, at)
	case CompareAndSwap:
		p.keepStale(&w, m, at, hd)
	default: // Set, Add and Replace store what newWrite made
	}
	res, need, again = p.put(m, &w, at, hd, now)
	if res.Outcome == Stored {
		res.Number, res.OldExpires = w.number, w.before
		if m.Verb == Delete {
			res = Result{Outcome: Deleted, Item: res.Item}
		}
	}
	return res, need, again
}

// joined is the value of an Append or Prepend.
func (p *partition) joined(m *Mutation, at place) source {
	s := oldSource(p.a, p.idx.ref(at))
	s.given, s.more, s.last = m.Value, m.More, m.Verb == Append
	return s
}

// newWrite is what a mutation stores if it is a plain one.
func (p *partition) newWrite(m *Mutation, h uint64) write {
	w := write{hash: h, key: m.Key, vlen: m.ValueLen(), flags: m.Flags, exp: p.e.expiry(m.Expires), bits: m.state}
	w.src.given, w.src.more = m.Value, m.More
	if m.BinaryKey {
		w.bits |= bitBinary
	}
	if m.HasNewCAS {
		w.bits |= bitCAS
		w.cas = m.NewCAS
	}
	return w
}

// keep lets a new item have the old one's flags and expiry.
func (p *partition) keep(w *write, h *header) {
	w.flags, w.exp = h.flags(), h.exp()
}

// keepCounted lets the result of an Increment or Decrement have the old item's flags and expiry.
func (p *partition) keepCounted(w *write, m *Mutation, h *header) {
	if h == nil {
		w.flags, w.exp = 0, p.e.expiry(m.VivifyExpires)
		return
	}
	p.keep(w, h)
	w.before = p.e.expires(h.exp())
	if m.SetExpiry {
		w.exp = p.e.expiry(m.Expires)
	}
}

// keepStale lets a new item stay as stale as the old one where it comes too late.
func (p *partition) keepStale(w *write, m *Mutation, at place, h *header) {
	if h != nil && m.outdated(p.a.cas(p.idx.ref(at), h)) {
		w.exp = h.exp()
		w.bits |= bitStale | h.state()&bitWinSent
	}
}

// bury makes w what is left of an item whose value is dropped.
func (p *partition) bury(w *write, m *Mutation, at place, hd *header) {
	w.src, w.vlen = source{}, 0
	switch {
	case m.Invalidate:
		w.bits |= bitStale
	case !m.HasNewCAS:
		w.cas = p.a.cas(p.idx.ref(at), hd)
		w.bits |= bitCAS
	}
}

// invalidate marks an item stale.
func (p *partition) invalidate(
	m *Mutation, h uint64, at place, hd *header, now int64,
) (res Result, need int, again bool) {
	if more := p.lacks(m, at, hd); more != 0 {
		return p.widen(m, h, more, at, hd, now)
	}
	r := p.idx.ref(at)
	if m.SetExpiry {
		p.setExpiry(r, hd, m.Expires)
	}
	hd.set(bitStale)
	hd.unset(bitWinSent)
	p.renew(m, r, hd)
	return Result{Outcome: Deleted, Item: p.item(r, hd)}, 0, false
}

// renew gives an item that is changed in place its new CAS.
func (p *partition) renew(m *Mutation, r ref, h *header) {
	version := p.e.cas.Add(1)
	cas := version
	if m.HasNewCAS {
		cas = m.NewCAS
	}
	p.a.setCAS(r, h, version, cas)
}

// lacks is what an item's record must have before a mutation can be made in place.
func (p *partition) lacks(m *Mutation, at place, h *header) (more uint16) {
	if m.HasNewCAS && !h.has(bitCAS) {
		more = bitCAS
	}
	if m.SetExpiry && !canExpire(h, m.Expires) {
		more |= bitExp
	}
	if !p.a.desc(p.a.unitOf(p.idx.ref(at))).takes(p.e.cas.Load()) {
		more |= bitCAS // and a unit that can tell the next version
	}
	return more
}

// widen moves an item to a record with room for more. Where that worked, again is true.
func (p *partition) widen(
	m *Mutation, h uint64, more uint16, at place, hd *header, now int64,
) (res Result, need int, again bool) {
	r := p.idx.ref(at)
	w := write{
		hash: h, key: m.Key, vlen: int(hd.vlen()), seen: p.a.seen(r, hd), bits: hd.state() | more, rewrites: true,
		version: p.a.version(r, hd), cas: p.a.cas(r, hd),
	}
	if hd.has(bitCAS) || p.e.cas.Load()-w.version >= versionPast-versionMargin {
		w.bits |= bitCAS
	}
	if w.bits&bitCAS != 0 {
		w.version = 0 // what was not flushed is not
	}
	p.keep(&w, hd)
	w.src = oldSource(p.a, r)
	res, need, again = p.put(m, &w, at, hd, now)
	return res, need, again || need == 0 && res.Outcome == Stored
}

// canExpire tells whether an item's record can hold an expiry.
func canExpire(h *header, expires int64) bool { return expires == 0 || h.has(bitExp) }

func (p *partition) setExpiry(r ref, h *header, expires int64) {
	h.setExp(p.e.expiry(expires))
	p.noteExpiry(r, h.exp())
}

func (p *partition) touch(
	m *Mutation, hash uint64, at place, h *header, now int64,
) (res Result, need int, again bool) {
	if !canExpire(h, m.Expires) {
		return p.widen(m, hash, bitExp, at, h, now)
	}
	r := p.idx.ref(at)
	p.setExpiry(r, h, m.Expires)
	p.use(at, h, now)
	h.set(bitFetched)
	return Result{Outcome: Touched, CAS: p.a.cas(r, h), Item: p.item(r, h)}, 0, false
}
