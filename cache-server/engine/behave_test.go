// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// script is a conversation with an engine whose clock the test moves.
type script struct {
	t     *testing.T
	e     *Engine
	clock atomic.Int64
}

func newScript(t *testing.T) *script {
	s := &script{t: t}
	s.clock.Store(1_700_000_000)
	s.e = newEngine(t, Config{MaxBytes: 4 << 20, MaxItemSize: 1 << 20, Now: s.clock.Load})
	return s
}

// do applies a mutation and expects its outcome.
func (s *script) do(m Mutation, want Outcome) Result {
	s.t.Helper()
	if m.Key == nil {
		m.Key = []byte("k")
	}
	res := s.e.Apply(&m)
	if res.Outcome != want {
		s.t.Fatalf("%v: got %v, want %v", m.Verb, res.Outcome, want)
	}
	return res
}

func (s *script) set(value string) Result {
	s.t.Helper()
	return s.do(Mutation{Verb: Set, Value: []byte(value)}, Stored)
}

// value expects the value of k.
func (s *script) value(want string) Item {
	s.t.Helper()
	v, it, ok := s.e.Get([]byte("<"), []byte("k"))
	if !ok || string(v) != "<"+want {
		s.t.Fatalf("got %.60q %v, want %.60q", v, ok, want)
	}
	return it
}

func (s *script) miss() {
	s.t.Helper()
	if v, it, ok := s.e.Get([]byte("<"), []byte("k")); ok || string(v) != "<" || it != (Item{}) {
		s.t.Fatalf("got %.60q %+v, want a miss", v, it)
	}
}

func val(s string) []byte { return []byte(s) }

func TestBehaviour(t *testing.T) {
	large := strings.Repeat("0123456789", 30_000)
	rows := []struct {
		name string
		run  func(s *script)
	}{
		{"a get of a key that was never stored is a miss", func(s *script) { s.miss() }},
		{"set stores and get returns value, flags and size", func(s *script) {
			res := s.do(Mutation{Verb: Set, Value: val("v"), Flags: 42}, Stored)
			if it := s.value("v"); it != (Item{Flags: 42, CAS: res.CAS, Size: 1, LastAccess: s.e.Now()}) {
				s.t.Errorf("got %+v", it)
			}
		}},
		{"an empty value is a hit", func(s *script) { s.set(""); s.value("") }},
		{"the longest key is taken and one byte more is too large", func(s *script) {
			s.do(Mutation{Verb: Set, Key: bytes.Repeat([]byte("k"), MaxKeyLen)}, Stored)
			s.do(Mutation{Verb: Set, Key: bytes.Repeat([]byte("k"), MaxKeyLen+1)}, TooLarge)
			if _, _, ok := s.e.Get(nil, bytes.Repeat([]byte("k"), MaxKeyLen)); !ok {
				s.t.Error("the longest key is a miss")
			}
		}},
		{"add stores only what is not there", func(s *script) {
			s.do(Mutation{Verb: Add, Value: val("a")}, Stored)
			s.do(Mutation{Verb: Add, Value: val("b")}, NotStored)
			s.value("a")
		}},
		{"replace stores only over what is there", func(s *script) {
			s.do(Mutation{Verb: Replace, Value: val("a")}, NotStored)
			s.miss()
			s.set("a")
			s.do(Mutation{Verb: Replace, Value: val("b")}, Stored)
			s.value("b")
		}},
		{"append and prepend keep flags and expiry and renew the CAS", func(s *script) {
			s.do(Mutation{Verb: Append, Value: val("x")}, NotStored)
			s.do(Mutation{Verb: Prepend, Value: val("x")}, NotStored)
			at := s.e.Now() + 50
			first := s.do(Mutation{Verb: Set, Value: val("b"), Flags: 9, Expires: at}, Stored)
			s.do(Mutation{Verb: Append, Value: val("c"), Flags: 1}, Stored)
			last := s.do(Mutation{Verb: Prepend, Value: val("a"), Expires: -1}, Stored)
			it := s.value("abc")
			if it.Flags != 9 || it.Expires != at || it.CAS != last.CAS || last.CAS <= first.CAS {
				s.t.Errorf("got %+v after CAS %d and %d", it, first.CAS, last.CAS)
			}
		}},
		{"append and prepend work on large values", func(s *script) {
			s.set(large)
			s.do(Mutation{Verb: Append, Value: val(large + "end")}, Stored)
			s.do(Mutation{Verb: Prepend, Value: val("start")}, Stored)
			s.value("start" + large + large + "end")
		}},
		{"an append beyond the limit leaves the old value", func(s *script) {
			s.set(large)
			s.do(Mutation{Verb: Append, Value: bytes.Repeat([]byte("x"), 1<<20-len(large))}, TooLarge)
			s.value(large)
		}},
		{"a set beyond the limit removes the old value", func(s *script) {
			s.set("old")
			s.do(Mutation{Verb: Set, Value: make([]byte, 1<<20)}, TooLarge)
			s.miss()
		}},
		{"an add or replace beyond the limit leaves the old value", func(s *script) {
			s.set("old")
			s.do(Mutation{Verb: Replace, Value: make([]byte, 1<<20)}, TooLarge)
			s.value("old")
		}},
		{"the limit is memcached's to the byte", func(s *script) {
			s.do(Mutation{Verb: Set, Key: val("k3"), Value: make([]byte, 1048516)}, TooLarge)
			s.do(Mutation{Verb: Set, Key: val("k3"), Value: make([]byte, 1048515)}, Stored)
			s.do(Mutation{Verb: Set, Key: val("k3"), Value: make([]byte, 1048515), Flags: 1}, TooLarge)
		}},
		{"compare and swap needs the item and its CAS", func(s *script) {
			s.do(Mutation{Verb: CompareAndSwap, Value: val("a"), CAS: 1}, NotFound)
			first := s.set("a")
			s.do(Mutation{Verb: CompareAndSwap, Value: val("b"), CAS: first.CAS + 1}, Exists)
			s.do(Mutation{Verb: CompareAndSwap, Value: val("b")}, Exists)
			s.value("a")
			second := s.do(Mutation{Verb: CompareAndSwap, Value: val("b"), CAS: first.CAS}, Stored)
			s.do(Mutation{Verb: CompareAndSwap, Value: val("c"), CAS: first.CAS}, Exists)
			if it := s.value("b"); it.CAS != second.CAS {
				s.t.Errorf("got CAS %d, want %d", it.CAS, second.CAS)
			}
		}},
		{"other verbs compare a CAS that is given", func(s *script) {
			s.do(Mutation{Verb: Set, Value: val("5"), CAS: 7}, NotFound)
			cas := s.set("5").CAS
			for _, verb := range []Verb{Set, Replace, Append, Prepend, Increment, Decrement, Touch, Delete} {
				s.do(Mutation{Verb: verb, Value: val("1"), CAS: cas + 99}, Exists)
			}
			s.value("5")
			s.do(Mutation{Verb: Delete, CAS: cas}, Deleted)
		}},
		{"delete removes once", func(s *script) {
			s.set("a")
			s.do(Mutation{Verb: Delete}, Deleted)
			s.do(Mutation{Verb: Delete}, NotFound)
			s.miss()
		}},
		{"increment and decrement need the item", func(s *script) {
			s.do(Mutation{Verb: Increment, Delta: 1}, NotFound)
			s.do(Mutation{Verb: Decrement, Delta: 1}, NotFound)
		}},
		{"an item expires at its second and not before", func(s *script) {
			s.do(Mutation{Verb: Set, Value: val("a"), Expires: s.e.Now() + 2}, Stored)
			s.clock.Add(1)
			s.value("a")
			s.clock.Add(1)
			s.miss()
			s.do(Mutation{Verb: Add, Value: val("b")}, Stored)
		}},
		{"an item with a past expiry is stored and gone", func(s *script) {
			for _, expires := range []int64{-1, 1, s.e.Now(), s.e.Now() - 1} {
				s.set("old")
				s.do(Mutation{Verb: Set, Value: val("a"), Expires: expires}, Stored)
				s.miss()
			}
		}},
		{"touch moves the expiry and keeps the CAS", func(s *script) {
			s.do(Mutation{Verb: Touch}, NotFound)
			cas := s.do(Mutation{Verb: Set, Value: val("a"), Expires: s.e.Now() + 2}, Stored).CAS
			if res := s.do(Mutation{Verb: Touch, Expires: s.e.Now() + 10}, Touched); res.CAS != cas {
				s.t.Errorf("got CAS %d, want %d", res.CAS, cas)
			}
			s.clock.Add(9)
			s.value("a")
			s.do(Mutation{Verb: Touch}, Touched)
			s.clock.Add(1000)
			s.value("a")
			s.do(Mutation{Verb: Touch, Expires: -1}, Touched)
			s.miss()
		}},
		{"get and touch returns the value and moves the expiry", func(s *script) {
			if _, _, ok := s.e.GetAndTouch(nil, []byte("k"), 0); ok {
				s.t.Error("a hit without an item")
			}
			s.do(Mutation{Verb: Set, Value: val("a"), Expires: s.e.Now() + 2}, Stored)
			at := s.e.Now() + 20
			if v, it, ok := s.e.GetAndTouch(nil, []byte("k"), at); !ok || string(v) != "a" || it.Expires != at {
				s.t.Errorf("got %q %+v %v", v, it, ok)
			}
			s.clock.Add(19)
			s.value("a")
			s.clock.Add(1)
			s.miss()
		}},
		{"an expiry centuries off does not wrap", func(s *script) {
			s.do(Mutation{Verb: Set, Value: val("a"), Expires: 1 << 62}, Stored)
			s.clock.Add(1 << 31)
			s.value("a")
		}},
		{"a flush hides what was stored, and not what is stored in the same second", func(s *script) {
			s.set("a")
			s.e.FlushAll(0)
			s.miss()
			s.set("b")
			s.value("b")
			s.clock.Add(10)
			s.value("b")
		}},
		{"a delayed flush hides at its second what was stored before", func(s *script) {
			s.set("a")
			s.e.FlushAll(s.e.Now() + 10)
			s.clock.Add(9)
			s.value("a")
			s.set("b")
			s.clock.Add(1)
			s.miss()
			s.set("c")
			s.clock.Add(10)
			s.value("c")
		}},
		{"a later flush replaces a pending one", func(s *script) {
			s.e.FlushAll(s.e.Now() + 10)
			s.e.FlushAll(s.e.Now() + 20)
			s.set("a")
			s.clock.Add(15)
			s.value("a")
			s.clock.Add(5)
			s.miss()
		}},
		{"a flush to come brings nothing back that was flushed", func(s *script) {
			s.set("a")
			s.e.FlushAll(0)
			s.e.FlushAll(s.e.Now() + 100)
			s.miss()
		}},
		{"what was overwritten by another size is read as it is now", func(s *script) {
			for _, n := range []int{10, 1000, 3, 100_000, 999, 300_000, 0, 64} {
				s.set(large[:n])
				s.value(large[:n])
			}
		}},
		{"mutations keep no reference to what they were given", func(s *script) {
			key, v := []byte("k"), []byte("value")
			s.do(Mutation{Verb: Set, Key: key, Value: v}, Stored)
			clear(key)
			clear(v)
			s.value("value")
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { row.run(newScript(t)) })
	}
}

// counted is s without what tells where the memory is.
func counted(s Stats) Stats {
	s.MappedBytes, s.DeadBytes, s.HeldBytes, s.IndexBytes, s.IndexSlots = 0, 0, 0, 0, 0
	return s
}

func TestStatsCount(t *testing.T) {
	s := newScript(t)
	s.do(Mutation{Verb: Set, Key: val("a"), Value: val("1")}, Stored)
	s.do(Mutation{Verb: Set, Key: val("bb"), Value: val("22"), Expires: s.e.Now() + 1, Flags: 1}, Stored)
	s.do(Mutation{Verb: Set, Key: val("a"), Value: val("11")}, Stored)
	s.do(Mutation{Verb: Replace, Key: val("a"), Value: make([]byte, 2<<20)}, TooLarge)
	got := counted(s.e.Stats())
	got.HashPower = 0
	want := Stats{
		CurrItems: 2, TotalItems: 3, LimitBytes: 4 << 20, TooLarge: 1,
		Bytes: int64(ItemSize(1, 2, 0) + ItemSize(2, 2, 1)),
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	s.clock.Add(1)
	s.e.Get(nil, val("bb"))
	got = s.e.Stats()
	if got.CurrItems != 1 || got.Reclaimed != 1 || got.ExpiredUnfetched != 1 {
		t.Errorf("after an expiry: got %+v", got)
	}
	s.e.ResetStats()
	got = counted(s.e.Stats())
	got.HashPower = 0
	if got != (Stats{CurrItems: 1, Bytes: int64(ItemSize(1, 2, 0)), LimitBytes: 4 << 20}) {
		t.Errorf("after a reset: got %+v", got)
	}
}

func TestKeeperReclaimsExpiredItemsUnasked(t *testing.T) {
	s := newScript(t)
	for i := range 1000 {
		s.do(Mutation{Verb: Set, Key: []byte{byte(i), byte(i >> 8)}, Value: val("v"), Expires: s.e.Now() + 5}, Stored)
	}
	s.do(Mutation{Verb: Set, Value: val("stays")}, Stored)
	s.clock.Add(5)
	for deadline := time.Now().Add(10 * time.Second); s.e.Stats().CurrItems != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %+v, want 1 item", s.e.Stats())
		}
	}
	if n := s.e.Stats(); n.Reclaimed != 1000 || n.ExpiredUnfetched != 1000 || n.Evictions != 0 {
		t.Errorf("got %+v, want 1000 reclaimed", n)
	}
	s.value("stays")
	s.e.FlushAll(0)
	s.clock.Add(1)
	for deadline := time.Now().Add(10 * time.Second); s.e.Stats().CurrItems != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("got %+v after a flush, want no item", s.e.Stats())
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	rows := []struct {
		name string
		cfg  Config
		want string // part of the error
	}{
		{"no budget", Config{MaxItemSize: 1024}, "MaxBytes 0 is below the minimum 1048576"},
		{"a budget beyond any machine", Config{MaxBytes: 1 << 60, MaxItemSize: 1024}, "is above the maximum"},
		{"no item size", Config{MaxBytes: MinBytes}, "MaxItemSize 0 is below the minimum 1024"},
		{"items of more than half the budget", Config{MaxBytes: MinBytes, MaxItemSize: MinBytes/2 + 1},
			"above the maximum 524288"},
		{"items of more than a gigabyte", Config{MaxBytes: 8 << 30, MaxItemSize: 1<<30 + 1}, "above the maximum 1073741824"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if _, err := New(row.cfg); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestClosedEngineAnswersWithoutCrashing(t *testing.T) {
	e, err := New(Config{MaxBytes: MinBytes, MaxItemSize: MinBytes / 2})
	if err != nil {
		t.Fatal(err)
	}
	m := &Mutation{Verb: Set, Key: val("k"), Value: val("v")}
	e.Apply(m)
	for range 2 {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, _, ok := e.Get(nil, m.Key); ok {
		t.Error("got a hit")
	}
	if res := e.Apply(m); res.Outcome != OutOfMemory {
		t.Errorf("got %v, want OutOfMemory", res.Outcome)
	}
	e.Range(func([]byte, Item) bool { t.Error("got an item"); return false })
	e.FlushAll(0)
	_ = e.SetBudget(2 * MinBytes)
	e.Stats()
}

func TestNamesOfVerbsAndOutcomes(t *testing.T) {
	seen := map[string]bool{}
	for v := Set; v <= Delete; v++ {
		seen[v.String()] = true
	}
	for o := Stored; o <= Deleted; o++ {
		seen[o.String()+" outcome"] = true
	}
	if len(seen) != 19 || seen["Unknown"] || Verb(99).String() != "Unknown" || Outcome(99).String() != "Unknown" {
		t.Errorf("got %v", seen)
	}
}
