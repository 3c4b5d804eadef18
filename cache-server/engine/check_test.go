// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"testing"
)

// check verifies every invariant of the engine's memory while it stands still.
func (e *Engine) check() error {
	seen := make([]string, e.pool.high+1)
	claim := func(u unit, what string) error {
		if u == 0 || u > e.pool.high {
			return fmt.Errorf("%s: unit %d was never handed out", what, u)
		}
		if seen[u] != "" {
			return fmt.Errorf("unit %d is both %s and %s", u, seen[u], what)
		}
		seen[u] = what
		return nil
	}
	for i := range e.parts {
		p := &e.parts[i]
		p.mu.Lock()
		err := p.check(claim)
		p.mu.Unlock()
		if err != nil {
			return fmt.Errorf("partition %d: %w", i, err)
		}
	}
	return e.pool.check(claim)
}

func (p *pool) check(claim func(unit, string) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var resident, returned int64
	for u := p.resident; u != 0; u = p.a.desc(u).next {
		resident++
		if err := claim(u, "resident"); err != nil {
			return err
		}
	}
	for u := p.returned; u != 0; u = p.a.desc(u).next {
		returned++
		if err := claim(u, "returned"); err != nil {
			return err
		}
	}
	if resident != p.residentN || p.used != int64(p.high)-returned {
		return fmt.Errorf("pool counts %d resident and %d used, has %d and %d",
			p.residentN, p.used, resident, int64(p.high)-returned)
	}
	if p.overdrafts != 0 {
		return fmt.Errorf("pool was overdrawn %d times", p.overdrafts)
	}
	return nil
}

// check verifies one partition and claims its units.
func (p *partition) check(claim func(unit, string) error) error {
	var total, dead int64
	var live uint64
	for u := p.spare; u != 0; u = p.a.desc(u).next {
		total++
		if err := claim(u, "spare"); err != nil {
			return err
		}
	}
	if total != int64(p.spares) {
		return fmt.Errorf("counts %d spares, has %d", p.spares, total)
	}
	for _, u := range p.idx.dir {
		total++
		if err := claim(u, "index"); err != nil {
			return err
		}
	}
	for q := range p.queues {
		units := p.segments(q)
		if len(units) != p.queues[q].units {
			return fmt.Errorf("queue %d counts %d units, has %v", q, p.queues[q].units, units)
		}
		total += int64(len(units))
		for _, u := range units {
			if err := claim(u, "segment"); err != nil {
				return err
			}
			d, l, err := p.checkSegment(u, q)
			if err != nil {
				return fmt.Errorf("unit %d: %w", u, err)
			}
			dead += d
			live += l
		}
	}
	for u := unit(1); u <= p.pool.high; u++ {
		if d := p.a.desc(u); d.state == unitPinned && d.part == p.id {
			total++
			if err := claim(u, "pinned"); err != nil {
				return err
			}
			if d.pins == 0 {
				return fmt.Errorf("unit %d is kept for nobody", u)
			}
		}
	}
	switch {
	case total != p.units.Load():
		return fmt.Errorf("counts %d units, has %d", p.units.Load(), total)
	case dead != p.dead:
		return fmt.Errorf("counts %d dead bytes, has %d", p.dead, dead)
	case live != p.idx.items || int64(live) != p.n.items:
		return fmt.Errorf("index has %d items, statistics %d, segments %d", p.idx.items, p.n.items, live)
	}
	return p.checkIndex()
}

// segments are the units of a queue, the open and the draining one included.
func (p *partition) segments(q int) []unit {
	var units []unit
	var prev unit
	for u := p.queues[q].oldest; u != 0; u = p.a.desc(u).next {
		if p.a.desc(u).prev != prev {
			return append(units, 0)
		}
		prev = u
		units = append(units, u)
	}
	if u := p.open[q]; u != 0 {
		units = append(units, u)
	}
	if u := p.drain.unit; u != 0 && int(p.a.desc(u).queue) == q {
		units = append(units, u)
	}
	return units
}

func (p *partition) checkSegment(u unit, q int) (dead int64, items uint64, err error) {
	d := p.a.desc(u)
	if d.part != p.id || int(d.queue) != q {
		return 0, 0, fmt.Errorf("belongs to partition %d queue %d", d.part, d.queue)
	}
	var live, records uint32
	at := uint32(0)
	for at < d.used {
		r := p.a.start(u) + ref(at)
		size := p.a.recordSize(r)
		at += size
		h := p.a.header(r)
		switch {
		case h.has(bitDead):
			dead += int64(size)
			continue
		case h.isFragment():
			err = p.checkFragment(r)
		default:
			items++
			err = p.checkItem(r, h, d)
		}
		if err != nil {
			return 0, 0, err
		}
		live += size
		records++
	}
	if at != d.used || d.used > p.a.unitSize() || live != d.live || records != d.records {
		return 0, 0, fmt.Errorf("%d of %d bytes walked; %d bytes and %d records live, counted %d and %d",
			at, d.used, live, records, d.live, d.records)
	}
	return dead, items, nil
}

func (p *partition) checkFragment(r ref) error {
	f := p.a.fragment(r)
	prev := p.a.header(f.prev())
	var next ref
	switch {
	case prev.isFragment():
		next = p.a.fragment(f.prev()).next()
	case !prev.isChain() || p.hash(prev.key()) != f.owner():
		return fmt.Errorf("fragment %d has no owner", r)
	default:
		next = prev.chain()
	}
	if prev.has(bitDead) || next != r {
		return fmt.Errorf("fragment %d is not the next of its predecessor", r)
	}
	return nil
}

func (p *partition) checkItem(r ref, h *header, d *unitDesc) error {
	if at := p.idx.findRef(p.hash(h.key()), r); !at.found() {
		return fmt.Errorf("live item %q is not in the index", h.key())
	}
	if h.exp() != 0 && (d.minExp == 0 || d.minExp > h.exp()) {
		return fmt.Errorf("item expires at %d, its segment not before %d", h.exp(), d.minExp)
	}
	if v := p.a.version(r, h); v == 0 || v > p.e.cas.Load() {
		return fmt.Errorf("item %q has version %d of %d", h.key(), v, p.e.cas.Load())
	}
	n := h.size()
	if h.isChain() {
		prev := r
		for next := h.chain(); next != 0; {
			f := p.a.fragment(next)
			if f[0] != fragmentMark || f.isDead() || f.prev() != prev {
				return fmt.Errorf("chain of %q is broken at %d", h.key(), next)
			}
			n += f.size()
			prev, next = next, f.next()
		}
	}
	if n != h.vlen() {
		return fmt.Errorf("item %q has %d bytes of %d", h.key(), n, h.vlen())
	}
	return nil
}

func (p *partition) checkIndex() error {
	x := &p.idx
	var items uint64
	var bytes int64
	passed := make([]int, x.physical())
	for at := range x.physical() {
		b := x.bucket(at)
		for i := 1; i <= slotsPer; i++ {
			s := b.slot(i)
			if s == 0 {
				continue
			}
			r := p.a.slotRef(s)
			h := p.a.header(r)
			d := p.a.desc(p.a.unitOf(r))
			hash := p.hash(h.key())
			if d.part != p.id || d.state < unitOpen || h.has(bitDead) || h.isFragment() ||
				p.a.slotTag(s) != p.a.hashTag(hash) {
				return fmt.Errorf("slot %x points to no item of its own", s)
			}
			found, _ := x.find(hash, h.key())
			if !found.found() || found.at != at {
				return fmt.Errorf("item %q in bucket %d is not found", h.key(), at)
			}
			for j := x.home(hash); j < at; j++ {
				passed[j]++
			}
			items++
			bytes += h.itemSize()
		}
	}
	for at, want := range passed {
		got := int(x.bucket(uint64(at)).passed())
		if got != want && got != maxPassed && (got < want || !p.excess) {
			return fmt.Errorf("bucket %d counts %d passed, has %d", at, got, want)
		}
	}
	var classes ClassStats
	for i := range p.classes {
		if p.classes[i].Items < 0 || p.classes[i].Bytes < 0 {
			return fmt.Errorf("class %d holds %d items of %d bytes", i, p.classes[i].Items, p.classes[i].Bytes)
		}
		classes.add(&p.classes[i])
	}
	if classes.Items != p.n.items || classes.Bytes != p.n.bytes {
		return fmt.Errorf("classes hold %d items of %d bytes, all are %d of %d",
			classes.Items, classes.Bytes, p.n.items, p.n.bytes)
	}
	if items != x.items || bytes != p.n.bytes {
		return fmt.Errorf("index counts %d items, has %d; %d bytes, has %d", x.items, items, p.n.bytes, bytes)
	}
	return nil
}

// holds tells whether there is an item, and leaves no trace of the look.
func (e *Engine) holds(key []byte) bool {
	h := e.hash(key)
	p := e.partition(h)
	p.mu.Lock()
	defer p.mu.Unlock()
	_, hd := p.lookup(h, key, e.tick())
	return hd != nil
}

// newEngine makes an engine that is checked and closed at the test's end.
func newEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatalf("new engine: %v", err)
	}
	t.Cleanup(func() {
		e.keeper.stop()
		if err := e.check(); err != nil {
			t.Errorf("engine is inconsistent: %v", err)
		}
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return e
}
