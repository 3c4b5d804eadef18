// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// pattern is a value that tells of what and where each byte of it is.
func pattern(of byte, size int) []byte {
	v := make([]byte, size)
	for i := range v {
		v[i] = of + byte(i>>8) + byte(i)
	}
	return v
}

func (s *Snapshot) all() []byte {
	var v []byte
	for p := s.Next(); p != nil; p = s.Next() {
		v = append(v, p...)
	}
	return v
}

func mustHold(t *testing.T, e *Engine, key string, s *Snapshot) {
	t.Helper()
	if _, res := e.Read(nil, &Read{Key: []byte(key), Hold: s}); !res.Held || !res.HasValue {
		t.Fatalf("%s is not held: %+v", key, res)
	}
}

func TestSnapshotsKeepTheValueAsItWasRead(t *testing.T) {
	const size = 1 << 20
	was := pattern(1, size)
	set := func(e *Engine, key string, v []byte) {
		if res := e.Apply(&Mutation{Verb: Set, Key: []byte(key), Value: v}); res.Outcome != Stored {
			t.Fatalf("set %s: %v", key, res.Outcome)
		}
	}
	rows := []struct {
		name string
		then func(e *Engine)
	}{
		{"while nothing happens", func(*Engine) {}},
		{"while it is overwritten", func(e *Engine) { set(e, "k", pattern(2, size)) }},
		{"while it is appended to", func(e *Engine) {
			e.Apply(&Mutation{Verb: Append, Key: []byte("k"), Value: pattern(3, 1000)})
		}},
		{"while it is deleted", func(e *Engine) { e.Apply(&Mutation{Verb: Delete, Key: []byte("k")}) }},
		{"while all is flushed", func(e *Engine) { e.FlushAll(0) }},
		{"while it is evicted and its room would be used again", func(e *Engine) {
			for i := range 200 {
				set(e, fmt.Sprintf("other-%d", i), pattern(4, size/2))
			}
			for i := range 100_000 {
				set(e, fmt.Sprintf("small-%d", i), was[:100])
			}
		}},
		{"while the budget falls", func(e *Engine) {
			if err := e.SetBudget(8 << 20); err != nil {
				t.Fatal(err)
			}
			for i := range 1000 {
				set(e, fmt.Sprintf("small-%d", i), was[:10_000])
			}
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			e := newEngine(t, Config{MaxBytes: 16 << 20, MaxItemSize: 4 << 20})
			set(e, "k", was)
			var s Snapshot
			mustHold(t, e, "k", &s)
			row.then(e)
			if s.Size() != size || !bytes.Equal(s.all(), was) || s.Next() != nil {
				t.Errorf("%d bytes are held, and differ", s.Size())
			}
			s.Release()
			if s.Size() != 0 || e.pinned.Load() != 0 {
				t.Errorf("%d bytes and %d units are held after the release", s.Size(), e.pinned.Load())
			}
		})
	}
}

func TestNumbersThatAreHeldDoNotChange(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 16 << 20, MaxItemSize: 1 << 20})
	value := append([]byte("41"), bytes.Repeat([]byte(" "), SnapshotSize)...)
	e.Apply(&Mutation{Verb: Set, Key: []byte("n"), Value: value, Flags: 7})
	var s Snapshot
	mustHold(t, e, "n", &s)
	defer s.Release()
	res := e.Apply(&Mutation{Verb: Increment, Key: []byte("n"), Delta: 1})
	if res.Outcome != Stored || res.Number != 42 || !bytes.Equal(s.all(), value) {
		t.Errorf("got %+v; what is held changed: %v", res, !bytes.Equal(s.all(), value))
	}
	value[1] = '2'
	if got, it, _ := e.Get(nil, []byte("n")); !bytes.Equal(got, value) || it.Flags != 7 {
		t.Errorf("the new value has %d bytes and flags %d", len(got), it.Flags)
	}
}

func TestSnapshotsAreReadAnywhere(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 16 << 20, MaxItemSize: 1 << 20})
	want := pattern(9, 300_001)
	e.Apply(&Mutation{Verb: Set, Key: []byte("k"), Value: want})
	var s Snapshot
	mustHold(t, e, "k", &s)
	defer s.Release()
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		off, buf := r.IntN(len(want)+10), make([]byte, r.IntN(70_000))
		n, err := s.ReadAt(buf, int64(off))
		rest := want[min(off, len(want)):]
		if n != min(len(buf), len(rest)) || !bytes.Equal(buf[:n], rest[:n]) || (n < len(buf)) != errors.Is(err, io.EOF) {
			t.Fatalf("%d bytes at %d: %d, %v", len(buf), off, n, err)
		}
	}
	if _, err := s.ReadAt(nil, -1); err == nil {
		t.Error("a negative offset was taken")
	}
}

func TestOnlyLargeValuesAreHeld(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 16 << 20, MaxItemSize: 1 << 20})
	for _, size := range []int{0, 100, SnapshotSize - 1, SnapshotSize} {
		e.Apply(&Mutation{Verb: Set, Key: []byte("k"), Value: make([]byte, size)})
		if it, ok := e.Peek([]byte("k")); !ok || it.Size != size || it.Fetched {
			t.Errorf("a peek at %d bytes got %+v, %v", size, it, ok)
		}
		var s Snapshot
		got, res := e.Read(nil, &Read{Key: []byte("k"), Hold: &s})
		if large := size >= SnapshotSize; res.Held != large || large && s.Size() != size || !large && len(got) != size {
			t.Errorf("%d bytes: %d copied, %d held, %+v", size, len(got), s.Size(), res)
		}
		s.Release()
	}
	if _, ok := e.Peek([]byte("none")); ok {
		t.Error("a peek found what is not there")
	}
}

func TestHeldValuesLeaveRoomForOthers(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 16 << 20, MaxItemSize: 1 << 20})
	held := make([]Snapshot, 100)
	count, refused := 0, 0
	for i := range held {
		key := fmt.Appendf(nil, "large-%d", i)
		if res := e.Apply(&Mutation{Verb: Set, Key: key, Value: make([]byte, 900_000)}); res.Outcome != Stored {
			t.Fatalf("set %d: %v", i, res.Outcome)
		}
		_, res := e.Read(nil, &Read{Key: key, Hold: &held[i]})
		switch {
		case res.Held:
			count++
		case res.OutOfMemory && !res.HasValue && res.Hit:
			refused++
		default:
			t.Fatalf("got %+v", res)
		}
	}
	if count < 8 || refused == 0 || e.pinned.Load()<<e.arena.shift > 10<<20 {
		t.Errorf("%d are held, %d were refused, %d units are pinned", count, refused, e.pinned.Load())
	}
	// One value read many times takes its room once.
	again := make([]Snapshot, 1000)
	held[0].Release()
	e.Apply(&Mutation{Verb: Set, Key: []byte("hot"), Value: make([]byte, 500_000)})
	for i := range again {
		mustHold(t, e, "hot", &again[i])
	}
	for i := range again {
		again[i].Release()
	}
	for i := range held {
		held[i].Release()
	}
	e.staysWithin(t)
}

func TestCloseLeavesHeldValuesReadable(t *testing.T) {
	e, err := New(Config{MaxBytes: 16 << 20, MaxItemSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	want := pattern(5, 500_000)
	e.Apply(&Mutation{Verb: Set, Key: []byte("k"), Value: want})
	var s Snapshot
	mustHold(t, e, "k", &s)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e.arena.mem == nil || !bytes.Equal(s.all(), want) {
		t.Error("the value is gone")
	}
	s.Release()
	if e.arena.mem != nil {
		t.Error("the last release leaves the memory mapped")
	}
}

// TestSnapshotsOfAChangingValueAreWhole reads slowly what others replace, delete and push out.
func TestSnapshotsOfAChangingValueAreWhole(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 16 << 20, MaxItemSize: 1 << 20})
	stop := time.Now().Add(time.Second)
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := 0; time.Now().Before(stop); i++ {
				of := byte(i*2 + w)
				e.Apply(&Mutation{Verb: Set, Key: []byte("k"), Value: pattern(of, 100_000+int(of)*1000)})
				e.Apply(&Mutation{Verb: Set, Key: fmt.Appendf(nil, "%d-%d", w, i), Value: pattern(of, 200_000)})
				if i%7 == 0 {
					e.Apply(&Mutation{Verb: Delete, Key: []byte("k")})
				}
			}
		})
	}
	reads := 0
	for r := range 2 {
		wg.Go(func() {
			var s Snapshot
			for time.Now().Before(stop) {
				if _, res := e.Read(nil, &Read{Key: []byte("k"), Hold: &s}); !res.Held {
					continue
				}
				time.Sleep(time.Millisecond)
				got := s.all()
				if len(got) != s.Size() || !bytes.Equal(got, pattern(got[0], len(got))) ||
					len(got) != 100_000+int(got[0])*1000 {
					t.Errorf("%d bytes are torn", len(got))
				}
				s.Release()
				if r == 0 {
					reads++
				}
			}
		})
	}
	wg.Wait()
	if reads == 0 {
		t.Error("nothing was read")
	}
}
