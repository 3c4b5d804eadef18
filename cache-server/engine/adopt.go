// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
)

// adoption is what a sealed trailer says, once it has proven sound.
type adoption struct {
	parts []sealedPart
	dirs  [][]unit // the units of each partition's index
}

// errUnsound means that checksums hold but what they cover does not fit together.
var errUnsound = errors.New("lists of units in the arena are not sound")

// adopt checks that every unit is in exactly one place, so that no later step can go astray. Checksums tell
// what has changed; this tells what should never have been sealed.
func adopt(a *arena, head *sealedHead, parts []sealedPart, dir []uint32) (*adoption, error) {
	set := &adoption{parts: parts, dirs: make([][]unit, len(parts))}
	c := claims{a: a, seen: make([]bool, head.High+1)}
	for i := range parts {
		s := &parts[i]
		if uint64(s.IndexUnits) > uint64(len(dir)) {
			return nil, errUnsound
		}
		units := make([]unit, s.IndexUnits)
		for j := range units {
			units[j] = unit(dir[j])
		}
		dir, set.dirs[i] = dir[s.IndexUnits:], units
		if err := c.partition(uint16(i), s, units); err != nil {
			return nil, fmt.Errorf("partition %d: %w", i, err)
		}
	}
	held := c.count
	if !c.list(unit(head.Returned), func(d *unitDesc) bool { return d.state == unitFree }) ||
		len(dir) != 0 || held != head.Used || c.count != int64(head.High) {
		return nil, errUnsound
	}
	return set, nil
}

// claims are the units that were found in a place.
type claims struct {
	a     *arena
	seen  []bool
	count int64
}

func (c *claims) claim(u unit) bool {
	if u == 0 || int(u) >= len(c.seen) || c.seen[u] {
		return false
	}
	c.seen[u] = true
	c.count++
	return true
}

// list claims a list of units that all pass a test. It ends, because no unit is claimed twice.
func (c *claims) list(u unit, ok func(*unitDesc) bool) bool {
	for u != 0 {
		if !c.claim(u) || !ok(c.a.desc(u)) {
			return false
		}
		u = c.a.desc(u).next
	}
	return true
}

func (c *claims) partition(id uint16, s *sealedPart, index []unit) error {
	before := c.count
	mine := func(state uint32) func(*unitDesc) bool {
		return func(d *unitDesc) bool {
			return d.state == state && d.part == id && d.used <= c.a.unitSize() && d.live <= d.used && d.pins == 0
		}
	}
	if !c.list(unit(s.Spare), mine(unitSpare)) || c.count-before != int64(s.Spares) {
		return errUnsound
	}
	for _, u := range index {
		if !c.claim(u) || !mine(unitIndex)(c.a.desc(u)) {
			return errUnsound
		}
	}
	for q := range s.Oldest {
		from := c.count
		if !c.queue(uint8(q), s, mine(unitSealed)) {
			return errUnsound
		}
		if u := unit(s.Drain); u != 0 && int(u) < len(c.seen) && int(c.a.desc(u).queue) == q {
			if !c.claim(u) || !mine(unitDraining)(c.a.desc(u)) || s.Cursor > c.a.desc(u).used {
				return errUnsound
			}
		}
		if c.count-from != int64(s.Segments[q]) {
			return errUnsound
		}
	}
	buckets := uint64(len(index)) << (c.a.shift - bucketShift)
	if c.count-before != s.Units || s.N == 0 || s.Next == 0 || s.N != s.Next && s.Sweep > max(s.N, s.Next) ||
		int(s.CleanAt) >= len(c.seen) || max(s.N, s.Next)+padBuckets > buckets {
		return errUnsound
	}
	return nil
}

// queue claims the segments of one queue, whose links go both ways.
func (c *claims) queue(q uint8, s *sealedPart, ok func(*unitDesc) bool) bool {
	prev := unit(0)
	for u := unit(s.Oldest[q]); u != 0; u = c.a.desc(u).next {
		if !c.claim(u) {
			return false
		}
		d := c.a.desc(u)
		if !ok(d) || d.queue != q || d.prev != prev {
			return false
		}
		prev = u
	}
	return prev == unit(s.Newest[q])
}

// take fills the engine with what was adopted.
func (e *Engine) take(cfg *Config, a *arena, head *sealedHead, set *adoption, sums []uint32) {
	e.arena, e.key, e.epoch = a, hashKey{head.Key[0], head.Key[1]}, head.Epoch
	e.cas.Store(head.CAS)
	e.barrier.Store(head.Barrier)
	e.flushAt.Store(head.FlushAt)
	e.power.Store(min(head.Power, 40)) // no arena holds more
	e.parts = make([]partition, head.Parts)
	a.described = metaBytes(unit(head.High))
	e.pool.a, e.pool.parts = a, int64(head.Parts)
	e.pool.high, e.pool.returned, e.pool.used = unit(head.High), unit(head.Returned), head.Used
	e.pool.setBudget(cfg.MaxBytes)
	for i := range e.parts {
		e.parts[i].take(e, i, &set.parts[i], set.dirs[i])
	}
	e.sealedBudget = head.Budget
	// Wall time may have stepped back meanwhile; the engine's clock must not.
	now := e.realSecond()
	if e.clock != nil {
		now = e.clock()
	}
	e.ahead = max(0, head.Second-now)
	e.expectSums(sums)
}

// expectSums makes every unit whose content matters wait to be verified.
func (e *Engine) expectSums(sums []uint32) {
	e.sums, e.pending = sums, make([]bool, len(sums))
	for i := range e.parts {
		p := &e.parts[i]
		p.a.lazy = &unverified{p: p, sums: sums, pending: e.pending}
		p.eachUnit(func(u unit) {
			e.pending[u] = true
			p.a.lazy.left++
		})
	}
}

// take fills the partition with what was sealed.
func (p *partition) take(e *Engine, id int, s *sealedPart, dir []unit) {
	p.e, p.a, p.pool, p.id = e, e.arena.view(), &e.pool, uint16(id)
	p.idx = index{
		a: p.a, shift: e.arena.shift - bucketShift, dir: dir, n: s.N, next: s.Next, sweep: s.Sweep, items: s.Items,
	}
	for q := range p.queues {
		p.queues[q] = queue{oldest: unit(s.Oldest[q]), newest: unit(s.Newest[q]), units: int(s.Segments[q])}
	}
	p.spare, p.spares = unit(s.Spare), int(s.Spares)
	p.units.Store(s.Units)
	p.dead, p.laps, p.cleanAt, p.excess = s.Dead, int(s.Laps), unit(s.CleanAt), s.Excess != 0
	p.drain = drain{
		unit: unit(s.Drain), cursor: s.Cursor,
		copying: s.DrainFlags&1 != 0, clean: s.DrainFlags&2 != 0, opened: s.DrainFlags&4 != 0,
	}
	p.n = counters{items: s.Count, bytes: s.Bytes}
	p.adoptClasses(s)
}

// reportWarm tells of a warm start.
func (e *Engine) reportWarm() Report {
	r := Report{Warm: true}
	for i := range e.parts {
		r.Items += e.parts[i].n.items
	}
	if budget := e.pool.budget; budget != e.sealedBudget {
		r.Reason = fmt.Sprintf("the budget was %d bytes and is %d", e.sealedBudget, budget)
	}
	return r
}
