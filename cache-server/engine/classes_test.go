// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"testing"
)

// The classes of the tests, by ItemSize of a key of one byte: values of up to 20, 60 and 1,000,000 bytes, more or less.
var testClasses = []int{ItemSize(1, 20, 0), ItemSize(1, 60, 0), 1 << 20}

func classScript(t *testing.T) *script {
	s := &script{t: t}
	s.clock.Store(1_700_000_000)
	s.e = newEngine(t, Config{MaxBytes: 4 << 20, MaxItemSize: 1 << 20, Now: s.clock.Load, SizeClasses: testClasses})
	return s
}

// held is what a class says of one item.
func held(valueLen int) ClassStats {
	return ClassStats{Items: 1, Bytes: int64(ItemSize(1, valueLen, 0)), Used: true}
}

func TestClassesCount(t *testing.T) {
	rows := []struct {
		name string
		run  func(s *script)
		want [3]ClassStats
	}{
		{"nothing at the start", func(*script) {}, [3]ClassStats{}},
		{"an item of a class's bound in it, one that is longer in the next", func(s *script) {
			for i, n := range []int{0, 20, 21, 60, 61} {
				s.do(Mutation{Verb: Set, Key: []byte{'a' + byte(i)}, Value: make([]byte, n)}, Stored)
			}
		}, [3]ClassStats{
			{Items: 2, Bytes: int64(2*ItemSize(1, 0, 0) + 20), Used: true, Sets: 2},
			{Items: 2, Bytes: int64(2*ItemSize(1, 0, 0) + 81), Used: true, Sets: 2},
			{Items: 1, Bytes: int64(ItemSize(1, 61, 0)), Used: true, Sets: 1},
		}},
		{"an item that grows where it is now", func(s *script) {
			s.set("short")
			s.do(Mutation{Verb: Append, Value: make([]byte, 50)}, Stored)
		}, [3]ClassStats{
			{Used: true, Sets: 1}, {Items: 1, Bytes: int64(ItemSize(1, 55, 0)), Used: true, Sets: 1},
		}},
		{"what was given to be stored, whether or not it was", func(s *script) {
			s.do(Mutation{Verb: Replace, Value: val("1")}, NotStored)
			s.do(Mutation{Verb: Add, Value: make([]byte, 40)}, Stored)
			s.do(Mutation{Verb: Add, Value: val("1")}, NotStored)
			s.do(Mutation{Verb: Delete}, Deleted)
		}, [3]ClassStats{{Sets: 2}, {Used: true, Sets: 1, DeleteHits: 1}, {}}},
		{"gets that hit", func(s *script) {
			s.miss()
			s.set("1")
			s.value("1")
			s.e.Read(nil, &Read{Key: val("k"), NoValue: true})
			s.e.Peek(val("k"))
		}, [3]ClassStats{{Items: 1, Bytes: held(1).Bytes, Used: true, Sets: 1, GetHits: 2}, {}, {}}},
		{"what touches", func(s *script) {
			s.do(Mutation{Verb: Touch}, NotFound)
			s.set("1")
			s.do(Mutation{Verb: Touch}, Touched)
			s.e.GetAndTouch(nil, val("k"), 0)
		}, [3]ClassStats{{Items: 1, Bytes: held(1).Bytes, Used: true, Sets: 1, GetHits: 1, TouchHits: 2}, {}, {}}},
		{"numbers that were counted on", func(s *script) {
			s.do(Mutation{Verb: Increment, Delta: 1}, NotFound)
			s.set("1")
			s.do(Mutation{Verb: Increment, Delta: 1}, Stored)
			s.do(Mutation{Verb: Decrement, Delta: 1}, Stored)
			s.do(Mutation{Verb: Decrement, Delta: 1}, Stored)
			s.do(Mutation{Verb: Set, Key: val("x"), Value: val("x")}, Stored)
			s.do(Mutation{Verb: Increment, Key: val("x")}, NonNumeric)
			s.do(Mutation{Verb: Delete, Key: val("x")}, Deleted)
		}, [3]ClassStats{{
			Items: 1, Bytes: held(1).Bytes, Used: true, Sets: 2, IncrHits: 1, DecrHits: 2, DeleteHits: 1,
		}, {}, {}}},
		{"compared CAS values that matched and that did not", func(s *script) {
			s.do(Mutation{Verb: CompareAndSwap, Value: val("1"), CAS: 1}, NotFound)
			cas := s.set("1").CAS
			s.do(Mutation{Verb: CompareAndSwap, Value: val("2"), CAS: cas + 1}, Exists)
			s.do(Mutation{Verb: CompareAndSwap, Value: val("2"), CAS: cas}, Stored)
		}, [3]ClassStats{{
			Items: 1, Bytes: held(1).Bytes, Used: true, Sets: 4, CASHits: 1, CASBadval: 1,
		}, {}, {}}},
		{"what expired before it was read, and after", func(s *script) {
			s.e.keeper.stop()
			for _, key := range []string{"a", "b"} {
				s.do(Mutation{Verb: Set, Key: val(key), Value: val("1"), Expires: s.e.Now() + 1}, Stored)
			}
			s.e.Get(nil, val("a"))
			s.clock.Add(1)
			s.e.Get(nil, val("a"))
			s.e.Get(nil, val("b"))
		}, [3]ClassStats{{Used: true, Sets: 2, GetHits: 1, Reclaimed: 2, ExpiredUnfetched: 1}, {}, {}}},
		{"what expired and nobody asked for", func(s *script) {
			s.e.keeper.stop()
			s.do(Mutation{Verb: Set, Value: val("1"), Expires: s.e.Now() + 1}, Stored)
			s.clock.Add(1)
			s.e.maintain()
		}, [3]ClassStats{{Used: true, Sets: 1, Reclaimed: 1, ExpiredUnfetched: 1, Crawled: 1}, {}, {}}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := classScript(t)
			row.run(s)
			if got := [3]ClassStats(s.e.Classes()); got != row.want {
				t.Errorf("got  %+v\nwant %+v", got, row.want)
			}
			s.e.ResetStats()
			for i, got := range s.e.Classes() {
				want := ClassStats{Items: row.want[i].Items, Bytes: row.want[i].Bytes, Used: row.want[i].Used}
				if got != want {
					t.Errorf("after a reset class %d is %+v, want %+v", i, got, want)
				}
			}
		})
	}
}

func TestClassesCountEvictions(t *testing.T) {
	s := classScript(t)
	s.e.keeper.stop()
	for i := range 20_000 {
		m := Mutation{Verb: Set, Key: fmt.Appendf(nil, "%d", i), Value: make([]byte, 600)}
		if i%2 == 0 {
			m.Expires = s.e.Now() + 1_000_000
		}
		s.do(m, Stored)
		if i == 15_000 {
			s.clock.Add(100)
		}
	}
	c, all := s.e.Classes()[2], s.e.Stats()
	if c.Items != all.CurrItems || c.Bytes != all.Bytes || c.Evicted != all.Evictions || c.Evicted == 0 ||
		c.EvictedUnfetched != c.Evicted || c.Sets != 20_000 {
		t.Errorf("got %+v, all are %+v", c, all)
	}
	// Every other item had an expiry, and the last that went had not been used since before the clock moved.
	if half := c.Evicted / 2; c.EvictedNonzero < half-1000 || c.EvictedNonzero > half+1000 || c.EvictedTime != 100 {
		t.Errorf("%d of %d would have expired, the last was %d s old", c.EvictedNonzero, c.Evicted, c.EvictedTime)
	}
	if c.Age != 0 && c.Age != 100 {
		t.Errorf("the oldest was used %d s ago", c.Age)
	}
	s.clock.Add(7)
	if age := s.e.Classes()[2].Age; age != c.Age+7 {
		t.Errorf("7 s later the oldest was used %d s ago, it was %d", age, c.Age)
	}
}

func TestClassesCountWhatFindsNoRoom(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 4 << 20, MaxItemSize: 1 << 20, NoEvict: true, SizeClasses: testClasses})
	refused := uint64(0)
	for i := range 8000 {
		if e.Apply(filler(i)).Outcome == OutOfMemory {
			refused++
		}
	}
	got := e.Classes()
	if refused == 0 || got[2].OutOfMemory != refused || got[0].OutOfMemory != 0 || got[2].Evicted != 0 {
		t.Errorf("%d were refused, got %+v", refused, got)
	}
}

func TestThereAreClassesOnlyWhereTheyWereAskedFor(t *testing.T) {
	s := newScript(t)
	s.set("1")
	if got := s.e.Classes(); got != nil {
		t.Errorf("got %+v", got)
	}
	_, err := New(Config{MaxBytes: MinBytes, MaxItemSize: MinItemSize, SizeClasses: make([]int, maxSizeClasses+1)})
	if err == nil {
		t.Errorf("%d classes were taken", maxSizeClasses+1)
	}
}
