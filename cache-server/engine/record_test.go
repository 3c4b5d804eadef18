// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestAnItemGetsRoomForWhatItDidNotHave(t *testing.T) {
	rows := []struct {
		name string
		do   func(e *Engine, key []byte)
		// whether the CAS stays, and which expiry is wanted
		sameCAS bool
		expires int64
	}{
		{"a touch adds an expiry", func(e *Engine, key []byte) {
			e.Apply(&Mutation{Verb: Touch, Key: key, Expires: 2000})
		}, true, 2000},
		{"a get that touches adds an expiry", func(e *Engine, key []byte) { e.GetAndTouch(nil, key, 2000) }, true, 2000},
		{"a read that touches adds an expiry", func(e *Engine, key []byte) {
			e.Read(nil, &Read{Key: key, Touch: true, Expires: 2000, NoBump: true})
		}, true, 2000},
		{"a touch that adds none leaves all as it is", func(e *Engine, key []byte) {
			e.Apply(&Mutation{Verb: Touch, Key: key})
		}, true, 0},
		{"an invalidation adds an expiry", func(e *Engine, key []byte) {
			e.Apply(&Mutation{Verb: Delete, Key: key, Invalidate: true, SetExpiry: true, Expires: 2000})
		}, false, 2000},
		{"an invalidation adds a CAS", func(e *Engine, key []byte) {
			e.Apply(&Mutation{Verb: Delete, Key: key, Invalidate: true, HasNewCAS: true, NewCAS: 77})
		}, false, 0},
		{"both at once", func(e *Engine, key []byte) {
			e.Apply(&Mutation{
				Verb: Delete, Key: key, Invalidate: true, HasNewCAS: true, NewCAS: 77, SetExpiry: true, Expires: 2000,
			})
		}, false, 2000},
	}
	for _, row := range rows {
		for _, size := range []int{0, 1, 300, 5000, 100_000} {
			t.Run(fmt.Sprintf("%s, %d bytes", row.name, size), func(t *testing.T) {
				e := newEngine(t, Config{MaxBytes: 4 << 20, MaxItemSize: 1 << 20, Now: func() int64 { return 1000 }})
				key, value := []byte("k"), pattern(3, size)
				e.Apply(&Mutation{Verb: Set, Key: key, Value: value, Flags: 9, BinaryKey: true})
				before, _ := e.Peek(key)
				row.do(e, key)
				got, it, ok := e.Get(nil, key)
				if !ok || !bytes.Equal(got, value) || it.Flags != 9 || !it.BinaryKey || it.Expires != row.expires {
					t.Fatalf("got %d bytes, %+v", len(got), it)
				}
				if row.sameCAS != (it.CAS == before.CAS) {
					t.Errorf("the CAS was %d and is %d", before.CAS, it.CAS)
				}
			})
		}
	}
}

// TestVersionsOutliveTheSpanOfAUnit lets so many versions be given out that units cannot tell them all apart.
func TestVersionsOutliveTheSpanOfAUnit(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 2 << 20, MaxItemSize: 1 << 20})
	r := rand.New(rand.NewPCG(1, 2))
	set := func(key string, size int) uint64 {
		res := e.Apply(&Mutation{Verb: Set, Key: []byte(key), Value: make([]byte, size)})
		if res.Outcome != Stored {
			t.Fatalf("set %s: %v", key, res.Outcome)
		}
		return res.CAS
	}
	kept := set("kept", 100)
	e.Apply(&Mutation{Verb: Set, Key: []byte("n"), Value: []byte("100000000")})
	last := uint64(0)
	for round := range 12 {
		for range 2000 {
			set(fmt.Sprint(r.IntN(20_000)), r.IntN(300))
			if _, it, ok := e.Get(nil, []byte("kept")); ok && it.CAS != kept {
				t.Fatalf("round %d: the CAS is %d, it was %d", round, it.CAS, kept)
			}
		}
		for _, m := range []Mutation{
			{Verb: Set, Key: []byte("again"), Value: make([]byte, 100)},
			{Verb: Increment, Key: []byte("n"), Delta: 1, Vivify: true, Initial: 100000000},
			{Verb: Delete, Key: []byte("again"), Invalidate: true},
			{Verb: Touch, Key: []byte("again"), Expires: e.Now() + 1000},
		} {
			res := e.Apply(&m)
			it, ok := e.Peek(m.Key)
			if !ok || m.Verb != Touch && it.CAS <= last {
				t.Fatalf("round %d: %v answers %+v, the item is %+v, the last CAS was %d", round, m.Verb, res, it, last)
			}
			last = max(last, it.CAS)
		}
		if err := e.check(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		e.cas.Add(1 << 30)
	}
}

func TestSlotsReachAllOfAnArena(t *testing.T) {
	for _, size := range []uint64{1 << 20, 1 << 30, 1 << 38, 1<<38 + 1, 1 << 40, 1 << 42, 5 << 40} {
		a := &arena{}
		a.refBits, a.grain = slotShape(size)
		last := ref((size - 1) >> a.grain << a.grain)
		for _, r := range []ref{1 << a.grain, last} {
			for freq := range uint64(freqMax + 1) {
				tag := a.hashTag(0xdeadbeefdeadbeef)
				s := a.makeSlot(tag, freq, r)
				if a.slotRef(s) != r || a.slotTag(s) != tag || s>>slotBits != 0 {
					t.Errorf("arena of %d bytes: slot %x has place %d and tag %x", size, s, a.slotRef(s), a.slotTag(s))
				}
				var b bucket
				for i := 1; i <= slotsPer; i++ {
					b.setSlot(i, s+uint64(i)<<a.grain)
				}
				p := place{bucket: &b, slot: 1}
				x := index{a: a}
				b.setSlot(1, s)
				if x.ref(p) != r || x.freq(p) != freq || b.passed() != 0 || b.ghosts() != 0 {
					t.Errorf("arena of %d bytes: the bucket has place %d, use %d", size, x.ref(p), x.freq(p))
				}
			}
		}
		if tags := slotBits - freqBits - a.refBits; tags < minTagBits {
			t.Errorf("arena of %d bytes: %d bits are left for tags", size, tags)
		}
	}
}

func TestGhostsAreRememberedInTurn(t *testing.T) {
	var ghosts []uint64
	all := uint64(0)
	for g := range uint64(20) {
		all = all<<8 | (g + 1)
		ghosts = append(ghosts, g+1)
	}
	for i, g := range ghosts {
		remembered := i >= len(ghosts)-ghostsPer
		if at := ghostAt(all, g); (at < 64) != remembered || remembered && all>>at&0xff != g {
			t.Errorf("ghost %d is at %d", g, at)
		}
	}
	if ghostAt(0, 1) != 64 || ghostOf(0) == 0 {
		t.Error("nothing is taken for a ghost")
	}
}

func TestOverwritingKeepsTheRecordWhole(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 2 << 20, MaxItemSize: 1 << 20})
	r := rand.New(rand.NewPCG(3, 4))
	want := map[string][]byte{}
	for i := range 20_000 {
		key := fmt.Sprint("key-", r.IntN(40))
		value := pattern(byte(i), r.IntN(1+r.IntN(6000)))
		m := Mutation{Verb: Set, Key: []byte(key), Value: value}
		if r.IntN(3) == 0 {
			m.Flags = 1
		}
		if r.IntN(3) == 0 {
			m.Expires = e.Now() + 1000
		}
		m.HasNewCAS, m.NewCAS = r.IntN(5) == 0, uint64(i)
		e.Apply(&m)
		want[key] = value
		other := fmt.Sprint("key-", r.IntN(40))
		if got, _, ok := e.Get(nil, []byte(other)); ok && !bytes.Equal(got, want[other]) {
			t.Fatalf("step %d: %s has another value", i, other)
		}
	}
}

// TestRecordsOfAHugeArena lets a small engine keep its records as one of terabytes would.
func TestRecordsOfAHugeArena(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 2 << 20, MaxItemSize: 1 << 20})
	for i := range e.parts {
		a := e.parts[i].a
		a.grain, a.refBits = 4, a.refBits-4
	}
	r := rand.New(rand.NewPCG(5, 6))
	want := map[string][]byte{}
	hits := 0
	for i := range 30_000 {
		key := fmt.Sprint("key-", r.IntN(2000))
		if got, _, ok := e.Get(nil, []byte(key)); ok {
			hits++
			if !bytes.Equal(got, want[key]) {
				t.Fatalf("step %d: %s has another value", i, key)
			}
		}
		value := pattern(byte(i), r.IntN(1+r.IntN(20_000)))
		e.Apply(&Mutation{Verb: Set, Key: []byte(key), Value: value})
		want[key] = value
	}
	if s := e.Stats(); hits == 0 || s.Evictions == 0 {
		t.Errorf("%d hits, %+v", hits, s)
	}
}
