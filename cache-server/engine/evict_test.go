// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"fmt"
	"testing"
)

func TestEvictionsAreTold(t *testing.T) {
	rows := []struct {
		name string
		size int
		run  func(s *script, set func(i int), told map[string]Item)
	}{
		{"each with its key and item, once", 1000, nil},
		{"large ones once as well", 50_000, nil},
		{"not what is deleted, replaced, flushed or expired", 1000, func(s *script, set func(int), told map[string]Item) {
			for range 3 {
				for i := range 500 {
					set(i)
				}
			}
			for i := range 100 {
				s.do(Mutation{Verb: Delete, Key: fmt.Appendf(nil, "key-%d", i)}, Deleted)
			}
			s.clock.Add(100)
			s.miss()
			s.e.FlushAll(0)
			for i := range 500 {
				set(i)
			}
			if len(told) != 0 {
				s.t.Errorf("%d are told", len(told))
			}
		}},
		{"no longer once nobody asks", 1000, func(s *script, set func(int), told map[string]Item) {
			s.e.OnEvict(nil)
			for i := range 10_000 {
				set(i)
			}
			if n := s.e.Stats().Evictions; len(told) != 0 || n == 0 {
				s.t.Errorf("%d of %d are told", len(told), n)
			}
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newScript(t)
			told := make(map[string]Item)
			s.e.OnEvict(func(key []byte, it *Item) {
				if _, twice := told[string(key)]; twice {
					t.Errorf("%s is told twice", key)
				}
				told[string(key)] = *it
			})
			set := func(i int) {
				s.do(Mutation{
					Verb: Set, Key: fmt.Appendf(nil, "key-%d", i), Value: make([]byte, row.size),
					Flags: uint32(i), Expires: s.e.Now() + 100,
				}, Stored)
			}
			if row.run != nil {
				row.run(s, set, told)
				return
			}
			for i := range 8 << 20 / row.size {
				set(i)
			}
			if n := s.e.Stats().Evictions; n == 0 || len(told) != int(n) {
				t.Errorf("%d of %d are told", len(told), n)
			}
			for key, it := range told {
				var i uint32
				if _, err := fmt.Sscanf(key, "key-%d", &i); err != nil || it.Flags != i || it.Size != row.size ||
					it.Expires != s.e.Now()+100 || it.CAS == 0 || it.Fetched {
					t.Errorf("%s is told as %+v", key, it)
				}
				if s.e.holds([]byte(key)) {
					t.Errorf("%s is still there", key)
				}
			}
		})
	}
}

// TestEvictionsComeEvenly counts what each write of a full cache evicts.
func TestEvictionsComeEvenly(t *testing.T) {
	const budget = 4 << 20
	for _, row := range []struct {
		size, most uint64
	}{{10, 4}, {1000, 3}, {11_000, 2}} {
		t.Run(fmt.Sprintf("values of %d bytes", row.size), func(t *testing.T) {
			e := newEngine(t, Config{MaxBytes: budget, MaxItemSize: 1 << 20})
			value := bytes.Repeat([]byte("v"), int(row.size))
			var key [20]byte
			writes := 0
			set := func() (evicted uint64) {
				before := e.Stats().Evictions
				e.Apply(&Mutation{Verb: Set, Key: benchKey(key[:], uint64(writes)), Value: value})
				writes++
				return e.Stats().Evictions - before
			}
			for range 3 * budget / (row.size + 40) {
				set()
			}
			// What the keeper takes from an index and gives back is memory that writes need not make.
			e.keeper.stop()
			for range budget / (row.size + 40) / 4 {
				set()
			}
			const looked = 2000
			none, most := 0, uint64(0)
			for range looked {
				n := set()
				most = max(most, n)
				if n == 0 {
					none++
				}
			}
			t.Logf("of %d writes %d evict nothing, and one %d items at most", looked, none, most)
			if none > looked/20 || most > row.most {
				t.Errorf("of %d writes %d evict nothing, and one %d items", looked, none, most)
			}
		})
	}
}
