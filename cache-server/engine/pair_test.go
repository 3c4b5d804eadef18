// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// pair runs an engine beside the model.
type pair struct {
	e     *Engine
	m     *model
	clock *atomic.Int64
	last  uint64 // the last CAS seen
	// evicts says that items of the model may be missing from the engine.
	evicts bool
}

func newPair(t interface{ Fatalf(string, ...any) }, budget int64, maxItem int, evicts bool) *pair {
	p := &pair{clock: &atomic.Int64{}, evicts: evicts}
	p.clock.Store(1_000_000)
	e, err := New(Config{MaxBytes: budget, MaxItemSize: maxItem, Now: p.clock.Load})
	if err != nil {
		t.Fatalf("new engine: %v", err)
	}
	p.e = e
	p.m = &model{now: p.clock.Load(), items: map[string]*modelItem{}, limit: maxItem}
	return p
}

// mutate applies one mutation to both.
func (p *pair) mutate(mu *Mutation) error {
	key := string(mu.Key)
	if p.evicts && p.m.get(key) != nil {
		// What was evicted is gone from the model too.
		if !p.e.holds(mu.Key) {
			delete(p.m.items, key)
		}
	}
	want := p.m.apply(mu)
	got := p.e.Apply(mu)
	missed := got.Created || got.Outcome == NotStored || got.Outcome == NotFound
	if p.evicts && got != want && missed && !want.Created && (mu.Verb != Add || !p.e.holds(mu.Key)) {
		// Making room for the new value may have evicted the old one.
		delete(p.m.items, key)
		want = p.m.apply(mu)
	}
	if err := p.learn(key, want.Item.CAS, got.Item.CAS); err != nil {
		return fmt.Errorf("%v %.40q of %d bytes: %w", mu.Verb, mu.Key, len(mu.Value), err)
	}
	if want.Item.CAS == anyCAS {
		want.Item.CAS = got.Item.CAS
	}
	if want.CAS == anyCAS {
		want.CAS = got.Item.CAS
	}
	p.alignExpiry(&want.Item, got.Item)
	if got.OldExpires < p.m.now && want.OldExpires < 0 {
		want.OldExpires = got.OldExpires
	}
	if got != want {
		return fmt.Errorf("%v %.40q: got %+v, want %+v", mu.Verb, mu.Key, got, want)
	}
	return nil
}

// learn takes over a CAS that the engine chose. It must be larger than all before.
func (p *pair) learn(key string, want, got uint64) error {
	if want != anyCAS {
		return nil
	}
	if got <= p.last {
		return fmt.Errorf("CAS %d after %d", got, p.last)
	}
	p.last = got
	if it := p.m.items[key]; it != nil {
		it.CAS = got
	}
	return nil
}

// alignExpiry lets all that is past be the same.
func (p *pair) alignExpiry(want *Item, got Item) {
	if got.Expires < p.m.now && want.Expires < p.m.now && got.Expires != 0 && want.Expires != 0 {
		want.Expires = got.Expires
	}
}

// read compares one key.
func (p *pair) read(r *Read) error {
	if p.evicts && !p.e.holds(r.Key) {
		delete(p.m.items, string(r.Key))
	}
	want, value := p.m.read(r)
	v, got := p.e.Read([]byte("before"), r)
	if err := p.learn(string(r.Key), want.Item.CAS, got.Item.CAS); err != nil {
		return fmt.Errorf("read %.40q: %w", r.Key, err)
	}
	if want.Item.CAS == anyCAS {
		want.Item.CAS = got.Item.CAS
	}
	p.alignExpiry(&want.Item, got.Item)
	if got.OldExpires < p.m.now && want.OldExpires < 0 {
		want.OldExpires = got.OldExpires
	}
	if got != want {
		return fmt.Errorf("read %+v: got %+v, want %+v", r, got, want)
	}
	if !want.HasValue {
		value = nil
	}
	if string(v) != "before"+string(value) {
		return fmt.Errorf("read %.40q: wrong value", r.Key)
	}
	return nil
}

// get compares one key by Get, or by GetAndTouch if expires is not nil.
func (p *pair) get(key []byte, expires *int64) error {
	r := &Read{Key: key}
	var v []byte
	var it Item
	var ok bool
	if expires == nil {
		v, it, ok = p.e.Get([]byte("before"), key)
	} else {
		r.Touch, r.Expires = true, *expires
		v, it, ok = p.e.GetAndTouch([]byte("before"), key, *expires)
	}
	if !ok && p.evicts {
		delete(p.m.items, string(key))
	}
	was := p.m.get(string(key))
	won := was != nil && was.WinSent
	want, value := p.m.read(r)
	if was != nil {
		was.WinSent = won // a get wins nothing
	}
	p.alignExpiry(&want.Item, it)
	if ok != want.Hit || it != want.Item || string(v) != "before"+string(value) {
		return fmt.Errorf("get %.40q: got %v %+v, want %+v", key, ok, it, want)
	}
	return nil
}

// compareAll checks every item, by key and by Range, and the engine's own invariants.
func (p *pair) compareAll() error {
	seen := map[string]bool{}
	var err error
	p.e.Range(func(key []byte, it Item) bool {
		var want Item
		if m := p.m.get(string(key)); m != nil {
			want = m.Item
		}
		p.alignExpiry(&want, it)
		switch {
		case seen[string(key)]:
			err = fmt.Errorf("range: %.40q comes twice", key)
		case want != it:
			err = fmt.Errorf("range: %.40q is %+v, want %+v", key, it, want)
		}
		seen[string(key)] = true
		return err == nil
	})
	if err != nil {
		return err
	}
	for key := range p.m.items {
		if err := p.get([]byte(key), nil); err != nil {
			return err
		}
		if p.m.get(key) != nil && !seen[key] {
			return fmt.Errorf("range: %.40q does not come", key)
		}
	}
	return p.e.check()
}

func (p *pair) advance(seconds int64) {
	p.m.now += seconds
	p.clock.Store(p.m.now)
	p.m.get("")
}

func (p *pair) flushAll(at int64) {
	p.e.FlushAll(at)
	p.m.flush = 0
	if at <= p.m.now {
		clear(p.m.items)
	} else {
		p.m.flush = at
	}
}

func drawMutation(t *rapid.T, p *pair, maxValue int) *Mutation {
	mu := &Mutation{
		Verb:    Verb(rapid.IntRange(int(Set), int(Delete)).Draw(t, "verb")),
		Key:     fmt.Appendf(nil, "key-%d", rapid.IntRange(0, 40).Draw(t, "key")),
		Flags:   rapid.SampledFrom([]uint32{0, 0, 1, 1<<32 - 1}).Draw(t, "flags"),
		Expires: drawExpires(t, p),
		Delta:   rapid.SampledFrom([]uint64{0, 1, 9, 1000, 1<<64 - 1}).Draw(t, "delta"),
	}
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		mu.Value = strconv.AppendUint(nil, rapid.Uint64().Draw(t, "number"), 10)
	case 1:
		n := rapid.IntRange(0, maxValue).Draw(t, "large")
		mu.Value = bytes.Repeat([]byte{'a' + byte(n%26)}, n)
	default:
		mu.Value = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value")
	}
	if it := p.m.get(string(mu.Key)); it != nil && rapid.Bool().Draw(t, "cas") {
		mu.CAS = it.CAS + uint64(rapid.IntRange(-1, 1).Draw(t, "wrong"))
		mu.HasCAS = rapid.Bool().Draw(t, "has CAS")
	}
	if rapid.Bool().Draw(t, "meta") {
		drawMeta(t, p, mu)
	}
	return mu
}

// drawMeta adds what only meta commands ask for.
func drawMeta(t *rapid.T, p *pair, mu *Mutation) {
	mu.NewCAS, mu.HasNewCAS = drawNewCAS(t)
	mu.BinaryKey = rapid.Bool().Draw(t, "binary")
	mu.SetExpiry = rapid.Bool().Draw(t, "set expiry")
	mu.Vivify = rapid.Bool().Draw(t, "vivify")
	mu.VivifyExpires = drawExpires(t, p)
	mu.Initial = rapid.SampledFrom([]uint64{0, 1, 99, 1<<64 - 1}).Draw(t, "initial")
	mu.Invalidate = rapid.Bool().Draw(t, "invalidate")
	mu.DropValue = rapid.IntRange(0, 3).Draw(t, "drop") == 0
}

func drawNewCAS(t *rapid.T) (cas uint64, has bool) {
	return rapid.SampledFrom([]uint64{0, 1, 5, 1 << 40, 1<<64 - 1}).Draw(t, "new CAS"), rapid.Bool().Draw(t, "has new CAS")
}

func drawRead(t *rapid.T, p *pair) *Read {
	r := &Read{
		Key:           fmt.Appendf(nil, "key-%d", rapid.IntRange(0, 40).Draw(t, "key")),
		NoValue:       rapid.Bool().Draw(t, "no value"),
		NoBump:        rapid.Bool().Draw(t, "no bump"),
		Touch:         rapid.IntRange(0, 3).Draw(t, "touch") == 0,
		Expires:       drawExpires(t, p),
		Vivify:        rapid.IntRange(0, 3).Draw(t, "vivify") == 0,
		VivifyExpires: drawExpires(t, p),
		BinaryKey:     rapid.Bool().Draw(t, "binary"),
		Recache:       rapid.Bool().Draw(t, "recache"),
		RecacheBefore: p.m.now + int64(rapid.IntRange(0, 4).Draw(t, "before")),
	}
	r.RecacheTouched = rapid.Bool().Draw(t, "recache touched")
	r.NewCAS, r.HasNewCAS = drawNewCAS(t)
	if it := p.m.get(string(r.Key)); it != nil && rapid.Bool().Draw(t, "unless") {
		r.HasUnlessCAS, r.UnlessCAS = true, it.CAS+uint64(rapid.IntRange(0, 1).Draw(t, "wrong"))
	}
	return r
}

func drawExpires(t *rapid.T, p *pair) int64 {
	return rapid.SampledFrom([]int64{0, 0, p.m.now + 1, p.m.now + 3, p.m.now + 100, p.m.now, -1}).Draw(t, "expires")
}

func runModel(t *testing.T, budget int64, maxItem int, evicts bool) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPair(t, budget, maxItem, evicts)
		defer p.e.Close()
		try := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		mutate := func(t *rapid.T) { try(p.mutate(drawMutation(t, p, maxItem+10))) }
		key := func(t *rapid.T) []byte { return fmt.Appendf(nil, "key-%d", rapid.IntRange(0, 40).Draw(t, "key")) }
		t.Repeat(map[string]func(*rapid.T){
			"mutate":  mutate,
			"mutate2": mutate,
			"mutate3": mutate,
			"get":     func(t *rapid.T) { try(p.get(key(t), nil)) },
			"read":    func(t *rapid.T) { try(p.read(drawRead(t, p))) },
			"getAndTouch": func(t *rapid.T) {
				expires := drawExpires(t, p)
				try(p.get(key(t), &expires))
			},
			"advance": func(t *rapid.T) { p.advance(int64(rapid.IntRange(0, 5).Draw(t, "seconds"))) },
			"flush": func(t *rapid.T) {
				p.flushAll(rapid.SampledFrom([]int64{0, p.m.now, p.m.now + 2, p.m.now + 10}).Draw(t, "at"))
			},
			"maintain": func(*rapid.T) {
				p.e.keeper.stop()
				p.e.maintain()
			},
			"": func(*rapid.T) { try(p.e.check()) },
		})
		p.e.keeper.stop()
		try(p.compareAll())
	})
}

func TestModelWithoutEviction(t *testing.T) { runModel(t, 16<<20, 100<<10, false) }

func TestModelWithEviction(t *testing.T) { runModel(t, MinBytes, 200<<10, true) }
