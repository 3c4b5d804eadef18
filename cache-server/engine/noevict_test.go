// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"testing"
)

// fullScript is a script with an engine that evicts nothing and has no room left.
func fullScript(t *testing.T) (s *script, items int64) {
	s = &script{t: t}
	s.clock.Store(1_700_000_000)
	s.e = newEngine(t, Config{MaxBytes: 4 << 20, MaxItemSize: 1 << 20, Now: s.clock.Load, NoEvict: true})
	s.set("a value")
	s.do(Mutation{Verb: Set, Key: val("number"), Value: val("10")}, Stored)
	s.do(Mutation{Verb: Set, Key: val("short-lived"), Value: make([]byte, 100_000), Expires: s.e.Now() + 1}, Stored)
	for i := 0; s.e.Apply(filler(i)).Outcome == Stored; i++ {
		if i > 8000 {
			t.Fatalf("4 MiB hold more than 8 MB: %+v", s.e.Stats())
		}
	}
	return s, s.e.Stats().CurrItems
}

func filler(i int) *Mutation {
	return &Mutation{Verb: Set, Key: fmt.Appendf(nil, "filler-%d", i), Value: make([]byte, 1000)}
}

func TestWithoutEviction(t *testing.T) {
	rows := []struct {
		name string
		run  func(s *script)
	}{
		{"whatever is new is refused", func(s *script) {
			for i := range 1000 {
				s.do(*filler(10_000 + i), OutOfMemory)
			}
			s.do(Mutation{Verb: Add, Key: val("large"), Value: make([]byte, 500_000)}, OutOfMemory)
			if n := s.e.Stats().OutOfMemory; n != 1002 {
				s.t.Errorf("%d are counted, want 1002", n)
			}
		}},
		{"a read makes nothing either", func(s *script) {
			if _, res := s.e.Read(nil, &Read{Key: val("new"), Vivify: true}); res.Hit {
				s.t.Errorf("got %+v", res)
			}
		}},
		{"what is there can be read and changed in its place", func(s *script) {
			s.value("a value")
			s.set("another")
			s.do(Mutation{Verb: Increment, Key: val("number"), Delta: 5}, Stored)
			s.value("another")
		}},
		{"an append that finds no room leaves the value", func(s *script) {
			s.do(Mutation{Verb: Append, Value: make([]byte, 100_000)}, OutOfMemory)
			s.value("a value")
		}},
		{"a set that finds no room removes the value", func(s *script) {
			s.do(Mutation{Verb: Set, Value: make([]byte, 100_000)}, OutOfMemory)
			s.miss()
		}},
		{"what is deleted makes room", func(s *script) {
			for i := range 1000 {
				s.do(Mutation{Verb: Delete, Key: filler(i).Key}, Deleted)
			}
			for i := range 500 {
				s.do(*filler(10_000 + i), Stored)
			}
		}},
		{"what expires makes room", func(s *script) {
			s.clock.Add(1)
			if _, ok := s.e.Peek(val("short-lived")); ok {
				s.t.Error("the item is still there")
			}
			for i := range 50 {
				s.do(*filler(10_000 + i), Stored)
			}
		}},
		{"a budget that rises makes room", func(s *script) {
			if err := s.e.SetBudget(6 << 20); err != nil {
				s.t.Fatal(err)
			}
			for i := range 1000 {
				s.do(*filler(10_000 + i), Stored)
			}
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s, _ := fullScript(t)
			row.run(s)
			if n := s.e.Stats().Evictions; n != 0 {
				t.Errorf("%d items are evicted", n)
			}
		})
	}
}

func TestWithoutEvictionABudgetThatFallsEvicts(t *testing.T) {
	s, items := fullScript(t)
	s.e.keeper.stop()
	if err := s.e.SetBudget(2 << 20); err != nil {
		t.Fatal(err)
	}
	for s.e.maintain() {
	}
	s.e.staysWithin(t)
	if n := s.e.Stats(); n.Evictions == 0 || n.CurrItems > items*6/10 || n.CurrItems < items/4 {
		t.Errorf("of %d items stay %d, %d are evicted", items, n.CurrItems, n.Evictions)
	}
}
