// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// model is what an engine should hold: a plain map.
type model struct {
	now   int64
	items map[string]*modelItem
	limit int
	flush int64 // when a pending flush is due; 0 if none is
}

type modelItem struct {
	value   []byte
	flags   uint32
	cas     uint64
	expires int64
}

func (m *model) get(key string) *modelItem {
	if m.flush != 0 && m.now >= m.flush {
		clear(m.items)
		m.flush = 0
	}
	it := m.items[key]
	if it != nil && it.expires != 0 && it.expires <= m.now {
		delete(m.items, key)
		return nil
	}
	return it
}

// apply is what the mutation should answer, but for the CAS of what it stores.
func (m *model) apply(mu *Mutation) Result {
	key := string(mu.Key)
	it := m.get(key)
	if it == nil {
		switch {
		case mu.Verb == Add || mu.Verb == Set && mu.CAS == 0:
			return m.store(mu, mu.Value, mu.Flags, mu.Expires)
		case mu.Verb == Replace || mu.Verb == Append || mu.Verb == Prepend:
			return Result{Outcome: NotStored}
		default:
			return Result{Outcome: NotFound}
		}
	}
	if mu.Verb == Add {
		return Result{Outcome: NotStored}
	}
	if (mu.CAS != 0 || mu.Verb == CompareAndSwap) && mu.CAS != it.cas {
		return Result{Outcome: Exists}
	}
	switch mu.Verb {
	case Append:
		return m.store(mu, append(bytes.Clone(it.value), mu.Value...), it.flags, it.expires)
	case Prepend:
		return m.store(mu, append(bytes.Clone(mu.Value), it.value...), it.flags, it.expires)
	case Delete:
		delete(m.items, key)
		return Result{Outcome: Deleted}
	case Touch:
		it.expires = mu.Expires
		return Result{Outcome: Touched, CAS: it.cas}
	case Increment, Decrement:
		n, ok := numberOf(it.value)
		if !ok {
			return Result{Outcome: NonNumeric}
		}
		if mu.Verb == Increment {
			n += mu.Delta
		} else {
			n -= min(n, mu.Delta)
		}
		v := fmt.Appendf(nil, "%-*d", len(it.value), n)
		r := m.store(mu, v, it.flags, it.expires)
		r.Number = n
		return r
	default:
		return m.store(mu, mu.Value, mu.Flags, mu.Expires)
	}
}

func (m *model) store(mu *Mutation, value []byte, flags uint32, expires int64) Result {
	if ItemSize(len(mu.Key), len(value), flags) > m.limit {
		if mu.Verb == Set {
			delete(m.items, string(mu.Key))
		}
		return Result{Outcome: TooLarge}
	}
	m.items[string(mu.Key)] = &modelItem{value: bytes.Clone(value), flags: flags, expires: expires}
	return Result{Outcome: Stored}
}

var numberText = regexp.MustCompile(`(?s)^[ \t-\r]*([+-]?)([0-9]+)([ \t-\r\x00].*)?$`)

// numberOf is what strtoull makes of a value, worked out with big numbers.
func numberOf(value []byte) (uint64, bool) {
	m := numberText.FindSubmatch(value)
	if m == nil {
		return 0, false
	}
	n, _ := new(big.Int).SetString(string(m[2]), 10)
	if !n.IsUint64() {
		return 0, false
	}
	u := n.Uint64()
	if string(m[1]) == "-" {
		u = -u
		return u, u < 1<<63
	}
	return u, true
}

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
		if _, _, ok := p.e.Get(nil, mu.Key); !ok {
			delete(p.m.items, key)
		}
	}
	want := p.m.apply(mu)
	got := p.e.Apply(mu)
	if p.evicts && got != want && (got.Outcome == NotStored || got.Outcome == NotFound) {
		// Making room for the new value may have evicted the old one.
		if _, _, ok := p.e.Get(nil, mu.Key); !ok {
			delete(p.m.items, key)
			return nil
		}
	}
	if want.Outcome == Stored {
		if got.CAS <= p.last {
			return fmt.Errorf("%v %.40q of %d bytes: got %+v after CAS %d", mu.Verb, mu.Key, len(mu.Value), got, p.last)
		}
		p.last = got.CAS
		if it := p.m.items[key]; it != nil {
			it.cas = got.CAS
		}
		want.CAS = got.CAS
	}
	if got != want {
		return fmt.Errorf("%v %.40q: got %+v, want %+v", mu.Verb, mu.Key, got, want)
	}
	return nil
}

// read compares one key. expires nil means Get.
func (p *pair) read(key []byte, expires *int64) error {
	prefix := []byte("before")
	want := p.m.get(string(key))
	var v []byte
	var it Item
	var ok bool
	if expires == nil {
		v, it, ok = p.e.Get(prefix, key)
	} else {
		v, it, ok = p.e.GetAndTouch(prefix, key, *expires)
	}
	if !ok {
		if want != nil && !p.evicts {
			return fmt.Errorf("get %.40q: miss, want %d bytes", key, len(want.value))
		}
		delete(p.m.items, string(key))
		return nil
	}
	if want == nil {
		return fmt.Errorf("get %.40q: got %d bytes, want a miss", key, len(v))
	}
	if expires != nil {
		want.expires = *expires
	}
	if !bytes.Equal(v, append([]byte("before"), want.value...)) {
		return fmt.Errorf("get %.40q: wrong value", key)
	}
	wantItem := Item{Flags: want.flags, CAS: want.cas, Expires: want.expires, Size: len(want.value)}
	// All that is past is the same.
	if it.Expires < p.m.now && want.expires < p.m.now && it.Expires != 0 && want.expires != 0 {
		wantItem.Expires = it.Expires
	}
	if it != wantItem {
		return fmt.Errorf("get %.40q: got %+v, want %+v", key, it, wantItem)
	}
	return nil
}

// compareAll checks every item, by key and by Range, and the engine's own invariants.
func (p *pair) compareAll() error {
	for key := range p.m.items {
		if err := p.read([]byte(key), nil); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	var err error
	p.e.Range(func(key []byte, it Item) bool {
		want := p.m.get(string(key))
		switch {
		case seen[string(key)]:
			err = fmt.Errorf("range: %.40q comes twice", key)
		case want == nil || want.cas != it.CAS || len(want.value) != it.Size:
			err = fmt.Errorf("range: %.40q is %+v", key, it)
		}
		seen[string(key)] = true
		return err == nil
	})
	if err != nil {
		return err
	}
	for key := range p.m.items {
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
		mu.CAS = it.cas + uint64(rapid.IntRange(0, 1).Draw(t, "wrong"))
	}
	return mu
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
			"get":     func(t *rapid.T) { try(p.read(key(t), nil)) },
			"getAndTouch": func(t *rapid.T) {
				expires := drawExpires(t, p)
				try(p.read(key(t), &expires))
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
