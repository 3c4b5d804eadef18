// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "slices"

// Get appends the value of key to dst. ok is false on a miss; expired and flushed items are misses.
func (e *Engine) Get(dst, key []byte) (value []byte, it Item, ok bool) {
	now := e.tick()
	h := e.hash(key)
	p := e.partition(h)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return dst, Item{}, false
	}
	at, hd := p.lookup(h, key, now)
	if hd == nil {
		p.mu.Unlock()
		return dst, Item{}, false
	}
	r := p.idx.ref(at)
	p.classAt(hd).GetHits++
	it = p.item(r, hd)
	p.use(at, hd, now)
	hd.set(bitFetched)
	dst = p.appendValue(dst, hd)
	p.mu.Unlock()
	return dst, it, true
}

// GetAndTouch is Get that also sets the expiry, in the same step.
func (e *Engine) GetAndTouch(dst, key []byte, expires int64) (value []byte, it Item, ok bool) {
	value, res := e.Read(dst, &Read{Key: key, Touch: true, Expires: expires, Plain: true})
	return value, res.Item, res.Hit
}

// Read appends the value to dst, if one is asked for and there is one, and does what else r asks for, in
// one atomic step. It keeps no reference to r or what r points to. An item for which no room can be
// made is not vivified.
func (e *Engine) Read(dst []byte, r *Read) ([]byte, ReadResult) {
	if r.Hold != nil {
		r.Hold.Release()
	}
	now := e.tick()
	h := e.hash(r.Key)
	p := e.partition(h)
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return dst, ReadResult{}
		}
		at, hd := p.lookup(h, r.Key, now)
		var m Mutation
		switch {
		case hd != nil && r.Touch && !canExpire(hd, r.Expires):
			m = Mutation{Verb: makeExpire, Key: r.Key}
		case hd != nil:
			var res ReadResult
			dst, res = p.read(dst, r, at, hd, now)
			p.mu.Unlock()
			return dst, res
		case r.Vivify:
			m = r.vivify()
		default:
			p.mu.Unlock()
			return dst, ReadResult{}
		}
		made, need := p.apply(&m, h, now)
		p.settle(now)
		p.mu.Unlock()
		if need > 0 {
			made = e.applyBig(p, &m, h, need)
		}
		switch {
		case m.Verb == makeExpire && made.Outcome != OutOfMemory:
			// There is room for the expiry now, or the item went meanwhile.
		case made.Outcome == Stored:
			return dst, r.vivified(made)
		case made.Outcome == NotStored:
			// While room was made, somebody else stored it.
		default:
			return dst, ReadResult{}
		}
	}
}

// Peek tells of an item without its value, and leaves no trace of the look. So its Size can be made room
// for before it is read; it may have changed by then.
func (e *Engine) Peek(key []byte) (it Item, ok bool) {
	now := e.tick()
	h := e.hash(key)
	p := e.partition(h)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return Item{}, false
	}
	at, hd := p.lookup(h, key, now)
	if hd == nil {
		return Item{}, false
	}
	return p.item(p.idx.ref(at), hd), true
}

// vivify is the mutation that makes the item of a read that found none. Who made it has won.
func (r *Read) vivify() Mutation {
	m := Mutation{
		Verb: Add, Key: r.Key, Expires: r.VivifyExpires, BinaryKey: r.BinaryKey,
		NewCAS: r.NewCAS, HasNewCAS: r.HasNewCAS, state: bitWinSent,
	}
	if !r.NoBump {
		m.state |= bitFetched
	}
	return m
}

func (r *Read) vivified(made Result) ReadResult {
	it := made.Item
	it.Fetched, it.WinSent = false, false
	return ReadResult{Item: it, Hit: true, Created: true, Won: true, HasValue: r.wantsValue(it.CAS)}
}

func (r *Read) wantsValue(cas uint64) bool {
	return !r.NoValue && (!r.HasUnlessCAS || r.UnlessCAS != cas)
}

// read reads an item that is there.
func (p *partition) read(dst []byte, r *Read, at place, hd *header, now int64) ([]byte, ReadResult) {
	rec := p.idx.ref(at)
	it := p.item(rec, hd)
	res := ReadResult{Hit: true, OldExpires: it.Expires, HasValue: r.wantsValue(it.CAS)}
	if r.Touch {
		p.setExpiry(rec, hd, r.Expires)
		it.Expires = p.e.expires(hd.exp())
	}
	if !it.WinSent && !r.Plain {
		expires := res.OldExpires
		if r.RecacheTouched {
			expires = it.Expires
		}
		res.Won = it.Stale || r.Recache && expires != 0 && expires < r.RecacheBefore
	}
	if res.Won {
		hd.set(bitWinSent)
	}
	c := p.classAt(hd)
	c.GetHits++
	if r.Plain && r.Touch {
		c.TouchHits++
	}
	if !r.NoBump {
		p.use(at, hd, now)
		hd.set(bitFetched)
	}
	switch {
	case !res.HasValue:
	case r.Hold != nil && hd.vlen() >= SnapshotSize:
		res.Held = p.hold(r.Hold, rec, hd)
		res.HasValue, res.OutOfMemory = res.Held, !res.Held
	default:
		dst = p.appendValue(dst, hd)
	}
	res.Item = it
	return dst, res
}

// use notes one more use of an item.
func (p *partition) use(at place, h *header, now int64) {
	if f := p.idx.freq(at); f < freqMax {
		p.idx.setFreq(at, f+1)
	}
	p.a.setSeen(p.idx.ref(at), h, p.e.since(now))
}

func (p *partition) item(r ref, h *header) Item {
	return Item{
		Flags: h.flags(), CAS: p.a.cas(r, h), Expires: p.e.expires(h.exp()), Size: int(h.vlen()),
		LastAccess: p.e.epoch + int64(p.a.seen(r, h)), Fetched: h.has(bitFetched),
		Stale: h.has(bitStale), WinSent: h.has(bitWinSent), BinaryKey: h.has(bitBinary),
	}
}

// appendValue copies the value, fragment by fragment, while the lock is held: what is returned is the
// value as of one moment.
func (p *partition) appendValue(dst []byte, h *header) []byte {
	if !h.isChain() {
		return append(dst, h.inline()...)
	}
	dst = append(slices.Grow(dst, int(h.vlen())), h.inline()...)
	for next := h.chain(); next != 0; {
		dst = append(dst, p.a.fragmentValue(next)...)
		next = p.a.fragment(next).next()
	}
	return dst
}
