// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
)

// tape hands out a fuzzer's bytes; after its end it yields zeros.
type tape struct{ left []byte }

func (t *tape) byte() byte {
	if len(t.left) == 0 {
		return 0
	}
	b := t.left[0]
	t.left = t.left[1:]
	return b
}

func (t *tape) number(n int) uint64 {
	var buf [8]byte
	for i := range n {
		buf[i] = t.byte()
	}
	return binary.LittleEndian.Uint64(buf[:])
}

// value is a number, a few literal bytes, or a long run.
func (t *tape) value() []byte {
	switch kind := t.byte(); kind % 4 {
	case 0:
		return fmt.Appendf(nil, "%d", t.number(int(kind>>2)%9))
	case 1:
		n := min(int(kind>>2), len(t.left))
		v := bytes.Clone(t.left[:n])
		t.left = t.left[n:]
		return v
	case 2:
		return bytes.Repeat([]byte{kind}, int(t.number(1))*8)
	default:
		return bytes.Repeat([]byte{kind}, int(t.number(2))*8)
	}
}

func (t *tape) expires(now int64) int64 {
	if b := t.byte(); b < 200 {
		return 0
	} else if b < 250 {
		return now + int64(b) - 202
	}
	return -1
}

// step does one operation on engine and model.
func (t *tape) step(p *pair) error {
	op := t.byte()
	key := fmt.Appendf(nil, "%d", t.byte())
	if op&0x20 != 0 {
		key = bytes.Repeat(key[:1], MaxKeyLen)
	}
	switch op := op & 0x1f; op {
	case 20, 21, 22, 23:
		return p.get(key, nil)
	case 24:
		expires := t.expires(p.m.now)
		return p.get(key, &expires)
	case 30, 31:
		return p.read(t.read(p, key))
	case 25:
		p.advance(int64(t.byte() % 8))
	case 26:
		p.flushAll(p.m.now + int64(t.byte()%4)*3)
	case 27:
		if !p.evicts {
			return nil
		}
		least := max(MinBytes, 2*int64(p.m.limit), int64(len(p.e.parts)*unitsLeast)<<p.e.arena.shift)
		return p.e.SetBudget(least + int64(t.byte())<<12)
	case 28:
		p.e.maintain()
	case 29:
		if !p.evicts {
			return nil
		}
		// A burst of new items fills the cache, so that short inputs evict, too.
		seed := t.number(2)
		size := int(t.byte()) * 8
		for i := range 100 {
			mu := Mutation{Verb: Set, Key: fmt.Appendf(nil, "b%d-%d", seed, i), Value: make([]byte, size)}
			if err := p.mutate(&mu); err != nil {
				return err
			}
		}
	default:
		mu := Mutation{
			Verb: Verb(op % 10), Key: key, Value: t.value(), Flags: uint32(t.byte() & 1), Expires: t.expires(p.m.now),
		}
		if mu.Verb == Increment || mu.Verb == Decrement {
			mu.Delta = t.number(int(op) % 9)
		}
		if it := p.m.get(string(key)); it != nil && t.byte()&1 != 0 {
			mu.CAS = it.CAS + uint64(t.byte()&1)
		}
		if op >= 10 {
			t.meta(p, &mu)
		}
		return p.mutate(&mu)
	}
	return nil
}

// meta adds what only meta commands ask for.
func (t *tape) meta(p *pair, mu *Mutation) {
	b := t.byte()
	mu.HasNewCAS, mu.BinaryKey, mu.SetExpiry, mu.Vivify = b&1 != 0, b&2 != 0, b&4 != 0, b&8 != 0
	mu.Invalidate, mu.DropValue, mu.HasCAS = b&16 != 0, b&32 != 0, b&64 != 0
	if mu.HasNewCAS {
		mu.NewCAS = t.number(int(b>>5) + 1)
	}
	if mu.Vivify {
		mu.VivifyExpires, mu.Initial = t.expires(p.m.now), t.number(2)
	}
}

func (t *tape) read(p *pair, key []byte) *Read {
	b := t.byte()
	r := &Read{
		Key: key, NoValue: b&1 != 0, NoBump: b&2 != 0, Touch: b&4 != 0, RecacheTouched: b&8 != 0,
		Vivify: b&16 != 0, HasNewCAS: b&32 != 0, BinaryKey: b&64 != 0, Recache: b&128 != 0,
	}
	if r.Touch {
		r.Expires = t.expires(p.m.now)
	}
	if r.Vivify {
		r.VivifyExpires, r.NewCAS = t.expires(p.m.now), t.number(2)
	}
	if r.Recache {
		r.RecacheBefore = p.m.now + int64(t.byte())
	}
	if it := p.m.get(string(key)); it != nil && t.byte()&1 != 0 {
		r.HasUnlessCAS, r.UnlessCAS = true, it.CAS+uint64(t.byte()&1)
	}
	return r
}

// replay runs a whole tape and checks everything on the way.
func replay(t *testing.T, data []byte, budget int64, maxItem int, evicts bool) {
	p := newPair(t, budget, maxItem, evicts)
	defer p.e.Close()
	p.e.keeper.stop()
	in := &tape{left: data}
	for i := 0; len(in.left) > 0; i++ {
		if err := in.step(p); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if i%64 == 0 {
			if err := p.e.check(); err != nil {
				t.Fatalf("after step %d: %v", i, err)
			}
		}
	}
	if err := p.compareAll(); err != nil {
		t.Fatal(err)
	}
	if p.m.limit <= maxItem && p.e.Stats().OutOfMemory != 0 {
		t.Fatalf("out of memory: %+v", p.e.Stats())
	}
}

func FuzzEngine(f *testing.F) {
	f.Add([]byte("\x00k\x05hello, world"), true)
	f.Add(bytes.Repeat([]byte{29, 1, 2, 255, 3, 29, 7, 100, 29, 9, 9, 20}, 20), true)
	f.Add(bytes.Repeat([]byte{0, 1, 3, 255, 255, 0, 210, 4, 1, 2, 9, 0, 25, 0, 3, 27, 0, 9}, 20), true)
	f.Add(bytes.Repeat([]byte{31, 1, 0x94, 210, 99, 250, 7, 19, 1, 0, 0, 0, 0x11, 3, 10, 1, 1, 7, 30, 1}, 9), false)
	f.Add(bytes.Repeat([]byte{6, 1, 0, 0, 7, 1, 9, 0, 26, 0, 2, 28, 0}, 9), false)
	f.Fuzz(func(t *testing.T, data []byte, evicts bool) {
		if len(data) > 1024 {
			return
		}
		if evicts {
			replay(t, data, MinBytes, MinBytes/2, true)
		} else {
			replay(t, data, 16<<20, 32<<10, false)
		}
	})
}

// TestLongRuns replays random tapes far longer than a fuzzer's.
func TestLongRuns(t *testing.T) {
	for seed := range byte(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			data := make([]byte, 60_000/slowdown)
			randomBytes(data, seed)
			replay(t, data, MinBytes<<(seed%3), MinBytes/2>>(seed%2), true)
		})
	}
}
