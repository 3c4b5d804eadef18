// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"container/list"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// lru is the textbook cache that the engine is measured against.
type lru struct {
	capacity int
	order    *list.List
	items    map[uint64]*list.Element
}

func (l *lru) get(key uint64) bool {
	if e, ok := l.items[key]; ok {
		l.order.MoveToFront(e)
		return true
	}
	if len(l.items) >= l.capacity {
		last := l.order.Back()
		delete(l.items, last.Value.(uint64))
		l.order.Remove(last)
	}
	l.items[key] = l.order.PushFront(key)
	return false
}

// TestKeepsWhatIsWorthKeeping compares hit ratios with an LRU cache of as many items.
func TestKeepsWhatIsWorthKeeping(t *testing.T) {
	const budget, requests = 8 << 20, 600_000
	rows := []struct {
		name string
		next func(i int, r *rand.Rand, z *rand.Zipf) uint64
		gain float64 // how much better than LRU it must at least be
	}{
		{"keys of uneven use", func(_ int, _ *rand.Rand, z *rand.Zipf) uint64 { return z.Uint64() }, 0.015},
		{"uneven use that drifts", func(i int, _ *rand.Rand, z *rand.Zipf) uint64 {
			return z.Uint64() + uint64(i/50)
		}, 0.005},
		{"uneven use with many keys used once", func(i int, r *rand.Rand, z *rand.Zipf) uint64 {
			if r.IntN(2) == 0 {
				return 1<<40 + uint64(i)
			}
			return z.Uint64()
		}, 0.015},
		{"a loop over more than fits", func(i int, _ *rand.Rand, _ *rand.Zipf) uint64 { return uint64(i % 60_000) }, 0.2},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			e := newEngine(t, Config{MaxBytes: budget, MaxItemSize: 1 << 20})
			value := make([]byte, 200)
			var key [8]byte
			set := func(k uint64) {
				binary.LittleEndian.PutUint64(key[:], k)
				e.Apply(&Mutation{Verb: Set, Key: key[:], Value: value})
			}
			for i := range 60_000 {
				set(1<<50 + uint64(i))
			}
			l := &lru{capacity: int(e.Stats().CurrItems), order: list.New(), items: map[uint64]*list.Element{}}
			r := rand.New(rand.NewPCG(1, 2))
			z := rand.NewZipf(r, 1.01, 1, 1<<20)
			hits, lruHits := 0, 0
			for i := range requests {
				k := row.next(i, r, z)
				if l.get(k) {
					lruHits++
				}
				binary.LittleEndian.PutUint64(key[:], k)
				if _, _, ok := e.Get(nil, key[:]); ok {
					hits++
				} else {
					set(k)
				}
			}
			got, base := float64(hits)/requests, float64(lruHits)/requests
			t.Logf("hit ratio %.4f, LRU of %d items %.4f", got, l.capacity, base)
			if got < base+row.gain {
				t.Errorf("hit ratio %.4f, want at least %.4f more than LRU's %.4f", got, row.gain, base)
			}
		})
	}
}
