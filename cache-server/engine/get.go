// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "slices"

// Get appends the value of key to dst. ok is false on a miss; expired and flushed items are misses.
func (e *Engine) Get(dst, key []byte) (value []byte, it Item, ok bool) {
	return e.get(dst, key, nil)
}

// GetAndTouch is Get that also sets the expiry, in the same step.
func (e *Engine) GetAndTouch(dst, key []byte, expires int64) (value []byte, it Item, ok bool) {
	return e.get(dst, key, &expires)
}

func (e *Engine) get(dst, key []byte, expires *int64) ([]byte, Item, bool) {
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
	r := slotRef(*at.slot)
	if expires != nil {
		hd.exp = e.expiry(*expires)
		p.noteExpiry(r, hd.exp)
	}
	p.use(at, hd, now)
	hd.bits |= bitFetched
	it := p.item(r, hd)
	dst = p.appendValue(dst, r, hd)
	p.mu.Unlock()
	return dst, it, true
}

// use notes one more use of an item.
func (p *partition) use(at place, h *header, now int64) {
	if f := slotFreq(*at.slot); f < freqMax {
		*at.slot = withFreq(*at.slot, f+1)
	}
	if s := p.e.since(now); h.seen != s {
		h.seen = s
	}
}

func (p *partition) item(r ref, h *header) Item {
	return Item{Flags: p.a.flags(r, h), CAS: h.cas, Expires: p.e.expires(h.exp), Size: int(h.vlen)}
}

// appendValue copies the value, fragment by fragment, while the lock is held: what is returned is the
// value as of one moment.
func (p *partition) appendValue(dst []byte, r ref, h *header) []byte {
	if h.bits&bitChain == 0 {
		return append(dst, p.a.inline(r, h)...)
	}
	dst = append(slices.Grow(dst, int(h.vlen)), p.a.inline(r, h)...)
	for next := *p.a.chain(r); next != 0; {
		f := p.a.fragment(next)
		dst = append(dst, p.a.bytes(next+ref(fragmentSize), f.size)...)
		next = f.next
	}
	return dst
}
