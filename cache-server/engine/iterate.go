// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "math/bits"

// rangeBuckets is how many buckets Range reads under one hold of a lock.
const rangeBuckets = 16

// Range calls fn for the visible items until it returns false. No lock is held meanwhile, so that fn
// may call the engine. An item that stays throughout is seen exactly once; one that comes or goes
// meanwhile may be seen. key is valid during the call only.
func (e *Engine) Range(fn func(key []byte, it Item) bool) {
	var batch []byte
	var items []Item
	var ends []int
	for i := range e.parts {
		p := &e.parts[i]
		for from, more := uint64(0), true; more; {
			batch, items, ends = batch[:0], items[:0], ends[:0]
			now := e.tick()
			p.mu.Lock()
			if p.closed {
				p.mu.Unlock()
				return
			}
			// A step is a span of hashes, not of buckets: a resize between two steps moves entries, but
			// never changes their order.
			step, _ := bits.Div64(1, 0, max(2, p.idx.n/rangeBuckets+1))
			to := from + step
			more = to > from
			p.idx.span(from, to, func(r ref) bool {
				h := p.a.header(r)
				if hash := p.hash(h.key()); hash >= from && (hash < to || !more) && !p.gone(r, h, now) {
					batch = append(batch, h.key()...)
					items = append(items, p.item(r, h))
					ends = append(ends, len(batch))
				}
				return true
			})
			if len(p.bad) > 0 {
				p.mend()
				p.mu.Unlock()
				more = true
				continue
			}
			p.mu.Unlock()
			start := 0
			for j, end := range ends {
				if !fn(batch[start:end:end], items[j]) {
					return
				}
				start = end
			}
			from = to
		}
	}
}

// span calls fn for every entry that may have a hash in [from, to), and some others. A to that is
// not above from means the end of the hashes.
func (x *index) span(from, to uint64, fn func(r ref) bool) {
	last := x.home(to - 1)
	if to <= from {
		last = x.home(^uint64(0))
	}
	for at := x.home(from); at < x.physical(); at++ {
		b := x.bucket(at)
		for i := 1; i <= slotsPer; i++ {
			if s := b.slot(i); s != 0 && !fn(x.a.slotRef(s)) {
				return
			}
		}
		if at >= last && b.passed() == 0 {
			return
		}
	}
}
