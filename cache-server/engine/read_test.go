// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// read reads k and expects a hit.
func (s *script) read(r Read) ReadResult {
	s.t.Helper()
	r.Key = []byte("k")
	v, res := s.e.Read([]byte("<"), &r)
	size := 0
	if res.HasValue {
		size = res.Item.Size
	}
	if !res.Hit || !strings.HasPrefix(string(v), "<") || len(v) != 1+size {
		s.t.Fatalf("got %.60q %+v, want a hit", v, res)
	}
	return res
}

// wants compares a result that the test gives in full.
func wants[T comparable](s *script, got, want T) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRead(t *testing.T) {
	rows := []struct {
		name string
		run  func(s *script)
	}{
		{"a read of nothing is a miss", func(s *script) {
			v, res := s.e.Read([]byte("<"), &Read{Key: val("k"), Touch: true, Recache: true, RecacheBefore: 1 << 40})
			wants(s, res, ReadResult{})
			wants(s, string(v), "<")
		}},
		{"a read tells of the accesses before it", func(s *script) {
			start := s.e.Now()
			s.set("v")
			s.clock.Add(3)
			wants(s, s.read(Read{NoBump: true}).Item.Fetched, false)
			first := s.read(Read{}).Item
			wants(s, first.Fetched, false)
			wants(s, first.LastAccess, start)
			s.clock.Add(2)
			second := s.read(Read{NoBump: true}).Item
			wants(s, second.Fetched, true)
			wants(s, second.LastAccess, start+3)
			wants(s, s.read(Read{}).Item.LastAccess, start+3)
		}},
		{"the value comes unless the CAS is known", func(s *script) {
			cas := s.set("v").CAS
			wants(s, s.read(Read{HasUnlessCAS: true, UnlessCAS: cas}).HasValue, false)
			wants(s, s.read(Read{HasUnlessCAS: true, UnlessCAS: cas + 1}).HasValue, true)
			wants(s, s.read(Read{NoValue: true}).HasValue, false)
		}},
		{"a touch tells the expiry before and sets the one after", func(s *script) {
			at := s.e.Now() + 10
			s.do(Mutation{Verb: Set, Expires: at}, Stored)
			res := s.read(Read{Touch: true, Expires: at + 10})
			wants(s, res.OldExpires, at)
			wants(s, res.Item.Expires, at+10)
			s.clock.Add(19)
			s.value("")
			s.clock.Add(1)
			s.miss()
		}},
		{"one reader alone vivifies and wins", func(s *script) {
			at := s.e.Now() + 10
			r := Read{Vivify: true, VivifyExpires: at, BinaryKey: true, Touch: true, Expires: at + 50}
			got := s.read(r)
			want := Item{CAS: got.Item.CAS, Expires: at, LastAccess: s.e.Now(), BinaryKey: true}
			wants(s, got, ReadResult{Item: want, Hit: true, Created: true, Won: true, HasValue: true})
			r.Touch = false
			want.WinSent, want.Fetched = true, true
			wants(s, s.read(r), ReadResult{Item: want, Hit: true, HasValue: true, OldExpires: at})
			wants(s, s.e.Stats().TotalItems, 1)
			s.clock.Add(10)
			s.miss()
		}},
		{"a vivified item may have a CAS of the client", func(s *script) {
			wants(s, s.read(Read{Vivify: true, HasNewCAS: true, NewCAS: 7}).Item.CAS, 7)
			wants(s, s.read(Read{HasNewCAS: true, NewCAS: 8}).Item.CAS, 7)
		}},
		{"an unseen vivified item was not fetched", func(s *script) {
			s.read(Read{Vivify: true, NoBump: true})
			wants(s, s.read(Read{}).Item.Fetched, false)
		}},
		{"the first reader wins before the expiry", func(s *script) {
			at := s.e.Now() + 10
			s.do(Mutation{Verb: Set, Expires: at}, Stored)
			wants(s, s.read(Read{Recache: true, RecacheBefore: at}).Won, false)
			wants(s, s.read(Read{RecacheBefore: at + 1}).Won, false)
			wants(s, s.read(Read{Recache: true, RecacheBefore: at + 1}).Won, true)
			later := s.read(Read{Recache: true, RecacheBefore: at + 1})
			wants(s, later.Won, false)
			wants(s, later.Item.WinSent, true)
		}},
		{"an item that never expires is not won before its expiry", func(s *script) {
			s.set("v")
			wants(s, s.read(Read{Recache: true, RecacheBefore: 1 << 40}).Won, false)
		}},
		{"a win may look at the expiry that the read sets", func(s *script) {
			at := s.e.Now() + 10
			s.do(Mutation{Verb: Set, Expires: at + 50}, Stored)
			r := Read{Recache: true, RecacheBefore: at + 1, Touch: true, Expires: at}
			wants(s, s.read(r).Won, false)
			s.do(Mutation{Verb: Set, Expires: at + 50}, Stored)
			r.RecacheTouched = true
			wants(s, s.read(r).Won, true)
		}},
		{"an invalidated item is stale and one reader wins", func(s *script) {
			old := s.set("v")
			at := s.e.Now() + 30
			res := s.do(Mutation{Verb: Delete, Invalidate: true, SetExpiry: true, Expires: at}, Deleted)
			wants(s, res.Item.Stale && res.Item.Expires == at && res.Item.CAS > old.CAS, true)
			first, second := s.read(Read{}), s.read(Read{})
			wants(s, first.Won && first.Item.Stale && !first.Item.WinSent, true)
			wants(s, !second.Won && second.Item.Stale && second.Item.WinSent, true)
			s.do(Mutation{Verb: Delete, Invalidate: true}, Deleted)
			third := s.read(Read{})
			wants(s, third.Won && third.Item.Expires == at, true)
			s.set("v")
			wants(s, s.read(Read{}).Item.Stale, false)
		}},
		{"an older value may be swapped in while the item is stale", func(s *script) {
			at := s.e.Now() + 30
			old := s.do(Mutation{Verb: Set, Value: val("v"), Expires: at}, Stored)
			s.do(Mutation{Verb: Delete, Invalidate: true}, Deleted)
			s.read(Read{})
			m := Mutation{Verb: CompareAndSwap, Value: val("w"), CAS: old.CAS}
			s.do(m, Exists)
			m.Invalidate = true
			res := s.do(m, Stored)
			wants(s, res.Item.Stale && res.Item.WinSent && res.Item.Expires == at, true)
			s.value("w")
			m.CAS = res.CAS + 1
			s.do(m, Exists)
			m.CAS = 0
			s.do(m, Exists)
			m.CAS = res.CAS
			wants(s, s.do(m, Stored).Item.Stale, false)
		}},
		{"a delete may leave an empty value with the CAS that was there", func(s *script) {
			s.do(Mutation{Verb: Delete, DropValue: true}, NotFound)
			cas := s.do(Mutation{Verb: Set, Value: val("v"), Flags: 3, Expires: s.e.Now() + 9}, Stored).CAS
			got := s.do(Mutation{Verb: Delete, DropValue: true, Flags: 5}, Deleted).Item
			wants(s, got, Item{Flags: 5, CAS: cas, LastAccess: s.e.Now()})
			s.value("")
			got = s.do(Mutation{Verb: Delete, DropValue: true, HasNewCAS: true, NewCAS: 2}, Deleted).Item
			wants(s, got.CAS, 2)
			wants(s, s.do(Mutation{Verb: Delete, DropValue: true}, Deleted).Item.CAS, 2)
			got = s.do(Mutation{Verb: Delete, DropValue: true, Invalidate: true}, Deleted).Item
			wants(s, got.Stale && got.CAS > cas, true)
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { row.run(newScript(t)) })
	}
}

func TestClientsMayChooseTheCAS(t *testing.T) {
	large := strings.Repeat("large", 30_000)
	rows := []struct {
		name string
		run  func(s *script)
	}{
		{"what is stored after a flush with a small CAS stays", func(s *script) {
			for range 50 {
				s.set("v")
			}
			s.e.FlushAll(0)
			s.do(Mutation{Verb: Set, Value: val("w"), HasNewCAS: true, NewCAS: 1}, Stored)
			wants(s, s.value("w").CAS, 1)
		}},
		{"what is stored before a flush with a huge CAS goes", func(s *script) {
			s.do(Mutation{Verb: Set, HasNewCAS: true, NewCAS: 1<<64 - 1}, Stored)
			s.e.FlushAll(0)
			s.miss()
			s.set("v")
			s.value("v")
		}},
		{"the engine's own CAS goes on from its last", func(s *script) {
			first := s.set("v").CAS
			s.do(Mutation{Verb: Set, HasNewCAS: true, NewCAS: 1 << 50}, Stored)
			second := s.set("w").CAS
			wants(s, second > first && second < first+10, true)
		}},
		{"a swap compares the client's CAS", func(s *script) {
			s.do(Mutation{Verb: Set, HasNewCAS: true, NewCAS: 9}, Stored)
			s.do(Mutation{Verb: CompareAndSwap, CAS: 8}, Exists)
			s.do(Mutation{Verb: CompareAndSwap, CAS: 9, HasNewCAS: true, NewCAS: 10}, Stored)
			s.do(Mutation{Verb: CompareAndSwap, CAS: 10}, Stored)
		}},
		{"a CAS of 0 can be compared", func(s *script) {
			s.do(Mutation{Verb: Set, HasNewCAS: true}, Stored)
			s.do(Mutation{Verb: CompareAndSwap}, Exists)
			s.do(Mutation{Verb: Delete, HasCAS: true}, Deleted)
			s.set("v")
			s.do(Mutation{Verb: Delete, HasCAS: true}, Exists)
		}},
		{"values of all sizes keep it", func(s *script) {
			for i, n := range []int{0, 10, 5000, len(large), 40_000, 3} {
				cas := uint64(1000 - i)
				s.do(Mutation{Verb: Set, Value: val(large[:n]), Flags: uint32(i), HasNewCAS: true, NewCAS: cas}, Stored)
				it := s.value(large[:n])
				wants(s, it.CAS, cas)
				wants(s, it.Flags, uint32(i))
			}
		}},
		{"a large item that is invalidated gets it too", func(s *script) {
			s.do(Mutation{Verb: Set, Value: val(large), Flags: 5, BinaryKey: true}, Stored)
			s.value(large)
			total := s.e.Stats().TotalItems
			s.clock.Add(5)
			got := s.do(Mutation{Verb: Delete, Invalidate: true, HasNewCAS: true, NewCAS: 77}, Deleted).Item
			want := Item{
				Flags: 5, CAS: 77, Size: len(large), LastAccess: s.e.Now() - 5, Fetched: true, Stale: true, BinaryKey: true,
			}
			wants(s, got, want)
			wants(s, s.value(large), want)
			wants(s, s.e.Stats().TotalItems, total)
		}},
		{"numbers count on with it", func(s *script) {
			m := Mutation{Verb: Increment, Delta: 1, Vivify: true, Initial: 8, HasNewCAS: true, NewCAS: 3}
			res := s.do(m, Stored)
			wants(s, res.Created && res.Number == 8 && res.CAS == 3, true)
			m.NewCAS = 2
			wants(s, s.do(m, Stored).CAS, 2)
			s.value("9")
			m.NewCAS = 1
			wants(s, s.do(m, Stored).CAS, 1)
			wants(s, s.value("10").CAS, 1)
			s.set("5")
			m.NewCAS, m.SetExpiry, m.Expires = 12, true, s.e.Now()+4
			wants(s, s.do(m, Stored).Item.Expires, s.e.Now()+4)
			wants(s, s.value("6").CAS, 12)
			m.HasNewCAS = false
			wants(s, s.do(m, Stored).CAS != 12, true)
		}},
		{"append and prepend of a missing key may store", func(s *script) {
			m := Mutation{Verb: Append, Value: val("b"), Flags: 4, Vivify: true, VivifyExpires: s.e.Now() + 5}
			res := s.do(m, Stored)
			wants(s, res.Created, true)
			m.Verb, m.Value, m.Flags, m.HasNewCAS, m.NewCAS = Prepend, val("a"), 9, true, 6
			res = s.do(m, Stored)
			wants(s, res.Created, false)
			it := s.value("ab")
			wants(s, it, Item{Flags: 4, CAS: 6, Expires: s.e.Now() + 5, Size: 2, LastAccess: s.e.Now()})
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { row.run(newScript(t)) })
	}
}

// TestOneReaderWins lets many read, invalidate and swap at once: each time somebody is told to make the
// item anew, nobody else is until it was made or invalidated.
func TestOneReaderWins(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 4 << 20, MaxItemSize: 1 << 20})
	key := []byte("k")
	for round := range 300 {
		var wg sync.WaitGroup
		var wins [4]int
		for i := range wins {
			wg.Go(func() {
				for range 5 {
					if _, res := e.Read(nil, &Read{Key: key, Vivify: true, NewCAS: 5, HasNewCAS: round%2 == 0}); res.Won {
						wins[i]++
					}
				}
			})
		}
		wg.Wait()
		if n := wins[0] + wins[1] + wins[2] + wins[3]; n != 1 {
			t.Fatalf("round %d: %d readers won", round, n)
		}
		m := &Mutation{Verb: Delete, Key: key, Invalidate: round%3 != 0, NewCAS: uint64(round), HasNewCAS: round%5 == 0}
		if res := e.Apply(m); res.Outcome != Deleted {
			t.Fatalf("round %d: %v", round, res.Outcome)
		}
	}
}

// TestAFlushOutlastsWhatRunsBesideIt counts while everything is flushed. What counted on an item came before the
// flush, so that nothing is left.
func TestAFlushOutlastsWhatRunsBesideIt(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 4 << 20, MaxItemSize: 1 << 20})
	key := []byte("k")
	for round := range 20_000 / slowdown {
		e.Apply(&Mutation{Verb: Set, Key: key, Value: []byte("0")})
		var flushed atomic.Bool
		var counted atomic.Int64
		var wg sync.WaitGroup
		wg.Go(func() {
			for !flushed.Load() {
				e.Apply(&Mutation{Verb: Increment, Key: key, Delta: 1})
				e.Apply(&Mutation{Verb: Append, Key: key, Value: []byte("0")})
				e.Apply(&Mutation{Verb: Delete, Key: key, Invalidate: true, HasNewCAS: true, NewCAS: uint64(round)})
				counted.Add(1)
			}
		})
		for counted.Load() < int64(round%4) {
			runtime.Gosched()
		}
		e.FlushAll(0)
		flushed.Store(true)
		wg.Wait()
		if v, it, ok := e.Get(nil, key); ok {
			t.Fatalf("round %d: %q %+v has outlasted a flush", round, v, it)
		}
	}
}
