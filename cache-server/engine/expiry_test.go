// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"sync/atomic"
	"testing"
)

// TestExpiredItemsAreReclaimedWithoutWalkingAllTheTime keeps many items that never expire, and among them a few
// that expire every second.
func TestExpiredItemsAreReclaimedWithoutWalkingAllTheTime(t *testing.T) {
	const items, seconds = 20_000, 200
	var now atomic.Int64
	now.Store(1000)
	e := newEngine(t, Config{MaxBytes: 16 << 20, MaxItemSize: 1 << 20, Now: now.Load})
	e.keeper.stop()
	for i := range items {
		m := Mutation{Verb: Set, Key: fmt.Appendf(nil, "key-%d", i), Value: make([]byte, 100)}
		if i%100 == 0 {
			m.Expires = now.Load() + 1 + int64(i/100%seconds)
		}
		e.Apply(&m)
	}
	for range seconds + 1<<mostPatience + 1 {
		now.Add(1)
		for e.keeper.crawl.second = 0; ; {
			e.maintain()
			if e.keeper.crawl.unit == 0 {
				break
			}
		}
	}
	s, walked := e.Stats(), e.keeper.crawl.walked
	if s.Reclaimed != items/100 {
		t.Errorf("%d of %d expired items are reclaimed", s.Reclaimed, items/100)
	}
	// A walk of everything in each second would look at four million items.
	if most := items * (seconds>>mostPatience + mostPatience + 4); walked > most {
		t.Errorf("%d items were looked at for %d that expired, more than %d", walked, items/100, most)
	}
}

// TestNoOperationPaysForAStorm lets all items expire in the same second, with nobody but the operations themselves to
// clear them away, and counts what each has to do.
func TestNoOperationPaysForAStorm(t *testing.T) {
	var now atomic.Int64
	now.Store(1000)
	e := newEngine(t, Config{MaxBytes: 40 << 20 / slowdown, MaxItemSize: 1 << 20, Now: now.Load})
	const items = 1_000_000 / slowdown
	var buf [20]byte
	for i := range items {
		e.Apply(&Mutation{Verb: Set, Key: benchKey(buf[:], uint64(i)), Value: buf[:10], Expires: 2000})
	}
	e.keeper.stop()
	work := func() (n uint64) {
		for i := range e.parts {
			n += e.parts[i].work
		}
		return n
	}
	now.Store(2000)
	r := uint64(1)
	most, total, last := uint64(0), work(), work()
	const operations = 100_000 / slowdown
	for i := range operations {
		r = r*6364136223846793005 + 1442695040888963407
		e.Get(nil, benchKey(buf[:], r>>33%items))
		e.Apply(&Mutation{Verb: Set, Key: benchKey(buf[:], uint64(items+i)), Value: buf[:10]})
		if n := work(); n > last {
			most, last = max(most, n-last), n
		}
	}
	t.Logf("%d steps in %d operations, at most %d in one of them", last-total, operations, most)
	// Room is made segment by segment, so that one operation may have a whole one to go through, twice.
	if perSegment := uint64(e.arena.unitSize()) / 40; most > 3*perSegment {
		t.Errorf("one operation took %d steps; a segment has up to %d records", most, perSegment)
	}
	if each := (last - total) / operations; each > 60 {
		t.Errorf("an operation took %d steps on average", each)
	}
}
