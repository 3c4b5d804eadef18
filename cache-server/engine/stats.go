// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

// Stats are the engine's counters now. It takes every partition's lock once, one after the other.
func (e *Engine) Stats() Stats {
	var s Stats
	s.LimitBytes, s.MappedBytes = e.pool.sizes()
	s.HashPower = e.power.Load()
	s.HeldBytes = e.pinned.Load() << e.arena.shift
	for i := range e.parts {
		p := &e.parts[i]
		p.mu.Lock()
		n := p.n
		s.DeadBytes += p.dead
		s.IndexBytes += int64(len(p.idx.dir)) << p.a.shift
		s.IndexSlots += p.idx.n * slotsPer
		if p.a.lazy != nil {
			s.Unverified += int64(p.a.lazy.left)
		}
		p.mu.Unlock()
		s.CurrItems += n.items
		s.Bytes += n.bytes
		s.TotalItems += n.total
		s.Evictions += n.evictions
		s.EvictedUnfetched += n.evictedUnfetched
		s.IndexDrops += n.indexDrops
		s.Reclaimed += n.reclaimed
		s.ExpiredUnfetched += n.expiredUnfetched
		s.OutOfMemory += n.outOfMemory
		s.TooLarge += n.tooLarge
		s.LostItems += n.lostItems
		s.LostUnits += n.lostUnits
		s.FoundExpired += n.foundExpired
		s.FoundFlushed += n.foundFlushed
		s.Crawled += n.crawled
	}
	return s
}

// ResetStats sets the counters of events to 0. CurrItems, Bytes and the sizes stay, as they are states.
func (e *Engine) ResetStats() {
	for i := range e.parts {
		p := &e.parts[i]
		p.mu.Lock()
		p.n = counters{items: p.n.items, bytes: p.n.bytes}
		p.resetClasses()
		p.mu.Unlock()
	}
}
