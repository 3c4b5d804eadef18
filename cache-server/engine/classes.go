// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"slices"
)

// The engine knows no classes of sizes. It counts by them because memcached does, whose tools ask.

const (
	// classStep and classSteps shape the table that finds the class of a common size at once.
	classStep  = 8
	classSteps = 1 << 11
	// maxSizeClasses is how many classes there are at most: as many as in memcached.
	maxSizeClasses = 64
)

// ClassStats are the counters of the items of one class of sizes.
type ClassStats struct {
	// Items and Bytes are what is held, as Stats counts it.
	Items, Bytes int64
	// Age is how many seconds ago the item was used that was used least lately, as far as is known: only the
	// items that come next for eviction are looked at.
	Age int64
	// Used tells whether there ever was such an item. It is not reset.
	Used bool
	// Sets counts values that were given to be stored.
	Sets uint64
	// GetHits, DeleteHits, IncrHits, DecrHits, CASHits, CASBadval and TouchHits count what found an item.
	GetHits, DeleteHits, IncrHits, DecrHits, CASHits, CASBadval, TouchHits uint64
	// Evicted counts evicted items, EvictedNonzero those of them that would have expired some time, and
	// EvictedUnfetched those that were never read. EvictedTime is how many seconds the last of them had not
	// been used.
	Evicted, EvictedNonzero, EvictedUnfetched uint64
	EvictedTime                               int64
	// Reclaimed counts expired items whose room was taken back, Crawled those of them that nobody had asked
	// for, and ExpiredUnfetched those that were never read.
	Reclaimed, Crawled, ExpiredUnfetched uint64
	// OutOfMemory counts mutations that found no room.
	OutOfMemory uint64
}

// classTable finds the class of a size.
type classTable struct {
	bounds []int
	small  [classSteps]uint8
}

// newClassTable makes the table of classes with the given upper bounds; the last takes whatever is larger.
func newClassTable(bounds []int) *classTable {
	t := &classTable{bounds: bounds}
	for i := range t.small {
		t.small[i] = uint8(t.search((i + 1) * classStep))
	}
	return t
}

// sum tells tables apart.
func (t *classTable) sum() uint32 {
	var buf []byte
	for _, bound := range t.bounds {
		buf = binary.LittleEndian.AppendUint64(buf, uint64(bound))
	}
	return checksum(buf)
}

func (t *classTable) search(size int) int {
	class, _ := slices.BinarySearch(t.bounds, size)
	return min(class, max(len(t.bounds)-1, 0))
}

// of is the class of an item of a size as ItemSize counts it. Within one step of the table there is no bound.
func (t *classTable) of(size int) int {
	if i := (size - 1) / classStep; i < classSteps {
		return int(t.small[i])
	}
	return t.search(size)
}

func (p *partition) class(size int) *ClassStats { return &p.classes[p.e.classes.of(size)] }

// classAt is the class of an item.
func (p *partition) classAt(h *header) *ClassStats { return p.class(int(h.itemSize())) }

// account adds an item of a size to what is held, or takes it away.
func (p *partition) account(size, items int64) {
	p.n.items += items
	p.n.bytes += items * size
	c := p.class(int(size))
	c.Used = true
	c.Items += items
	c.Bytes += items * size
}

// countGiven counts a value that was given to be stored.
func (p *partition) countGiven(m *Mutation) {
	if m.Verb <= CompareAndSwap {
		c := p.class(ItemSize(len(m.Key), m.ValueLen(), m.Flags))
		c.Sets++
	}
}

// countFound counts what a mutation found.
func (p *partition) countFound(m *Mutation, res *Result) {
	if m.Verb < CompareAndSwap || res.Created || res.Outcome != Stored && res.Outcome != Touched {
		return
	}
	c := p.class(ItemSize(len(m.Key), res.Item.Size, res.Item.Flags))
	switch m.Verb {
	case CompareAndSwap:
		c.CASHits++
	case Increment:
		c.IncrHits++
	case Decrement:
		c.DecrHits++
	case Touch:
		c.TouchHits++
	default:
	}
}

func (p *partition) countReclaimed(h *header) {
	c := p.classAt(h)
	p.n.reclaimed++
	c.Reclaimed++
	if !h.has(bitFetched) {
		p.n.expiredUnfetched++
		c.ExpiredUnfetched++
	}
}

func (p *partition) countEvicted(r ref, h *header) {
	c := p.classAt(h)
	p.n.evictions++
	c.Evicted++
	if h.exp() != 0 {
		c.EvictedNonzero++
	}
	if !h.has(bitFetched) {
		p.n.evictedUnfetched++
		c.EvictedUnfetched++
	}
	c.EvictedTime = max(p.e.Now()-p.e.expires(p.a.seen(r, h)), 0)
}

// Classes are the counters by the classes of Config.SizeClasses. It takes every partition's lock once, one after
// the other.
func (e *Engine) Classes() []ClassStats {
	all := make([]ClassStats, len(e.classes.bounds))
	if len(all) == 0 {
		return nil
	}
	now := e.Now()
	for i := range e.parts {
		p := &e.parts[i]
		p.mu.Lock()
		if !p.closed {
			p.noteAges(all, now)
		}
		for class := range all {
			all[class].add(&p.classes[class])
		}
		p.mu.Unlock()
	}
	for class := range all {
		// Below 0 if items outlived a process that had other classes.
		all[class].Items, all[class].Bytes = max(all[class].Items, 0), max(all[class].Bytes, 0)
	}
	return all
}

func (c *ClassStats) add(o *ClassStats) {
	c.Used = c.Used || o.Used
	c.Items += o.Items
	c.Bytes += o.Bytes
	c.Sets += o.Sets
	c.GetHits += o.GetHits
	c.DeleteHits += o.DeleteHits
	c.IncrHits += o.IncrHits
	c.DecrHits += o.DecrHits
	c.CASHits += o.CASHits
	c.CASBadval += o.CASBadval
	c.TouchHits += o.TouchHits
	c.Evicted += o.Evicted
	c.EvictedNonzero += o.EvictedNonzero
	c.EvictedUnfetched += o.EvictedUnfetched
	c.EvictedTime = max(c.EvictedTime, o.EvictedTime)
	c.Reclaimed += o.Reclaimed
	c.Crawled += o.Crawled
	c.ExpiredUnfetched += o.ExpiredUnfetched
	c.OutOfMemory += o.OutOfMemory
}

// sealedClasses is what is sealed of the classes.
func (p *partition) sealedClasses() (sealed [maxSizeClasses]sealedClass) {
	for i := range p.classes {
		c := &p.classes[i]
		sealed[i] = sealedClass{Items: c.Items, Bytes: c.Bytes}
		if c.Used {
			sealed[i].Used = 1
		}
	}
	return sealed
}

// adoptClasses goes on with the counts of a sealed partition.
func (p *partition) adoptClasses(s *sealedPart) {
	p.classes = make([]ClassStats, max(len(p.e.classes.bounds), 1))
	for i := range p.classes {
		sealed := &s.Classes[i]
		p.classes[i] = ClassStats{Items: sealed.Items, Bytes: sealed.Bytes, Used: sealed.Used != 0}
	}
}

// noteAges looks at the first items of the oldest segments.
func (p *partition) noteAges(all []ClassStats, now int64) {
	const enough = 64
	for q := range p.queues {
		u := p.queues[q].oldest
		if u == 0 {
			u = p.open[q]
		}
		if u == 0 {
			continue
		}
		d := p.a.desc(u)
		for n, at := 0, uint32(0); n < enough && at < d.used; n++ {
			r := p.a.start(u) + ref(at)
			at += p.a.recordSize(r)
			h := p.a.header(r)
			if h.has(bitDead) || h.isFragment() {
				continue
			}
			c := &all[p.e.classes.of(int(h.itemSize()))]
			c.Age = max(c.Age, now-p.e.expires(p.a.seen(r, h)))
		}
	}
}

// resetClasses sets the counters of events to 0.
func (p *partition) resetClasses() {
	for i := range p.classes {
		c := &p.classes[i]
		*c = ClassStats{Items: c.Items, Bytes: c.Bytes, Used: c.Used}
	}
}
