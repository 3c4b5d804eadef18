// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"sync"
	"sync/atomic"
)

// The two queues of the S3-FIFO discipline.
const (
	queueSmall = 0
	queueMain  = 1
)

const (
	// keepSpares is how many units a write finds that opens a segment. Writers leave at least one:
	// moving survivors out of one segment never opens more than one other.
	keepSpares = 2
	// mostSpares is how many units a partition keeps. Where memory is short it has as much free altogether: up to
	// one of them in the other open segment and less than one in the one that is being emptied, so that a write
	// finds keepSpares.
	mostSpares = keepSpares + 1
	// settleRecords bounds what one write pays for it.
	settleRecords = 16
	// shortShare is how little memory may be free before it counts as short: one in this many of all units.
	shortShare = 16
	freqMax    = 3
)

// queue is a list of sealed segments in the order of their sealing.
type queue struct {
	oldest, newest unit
	units          int // segments of this queue, the open and the draining one included
}

type counters struct {
	items, bytes                      int64
	total                             uint64
	evictions, evictedUnfetched       uint64
	reclaimed, expiredUnfetched       uint64
	outOfMemory, tooLarge, indexDrops uint64
	lostItems, lostUnits              uint64
	foundExpired, foundFlushed        uint64
	crawled                           uint64
}

// partition holds the items of one part of the hashes. Its lock covers all of it, and every byte of
// the units that it owns.
type partition struct {
	mu     sync.Mutex
	e      *Engine
	a      *arena
	pool   *pool
	id     uint16
	closed bool

	idx    index
	queues [2]queue
	open   [2]unit
	spare  unit // free units at hand
	spares int
	wanted int          // how many spares the operation under way needs
	units  atomic.Int64 // all units owned, spares included
	dead   int64        // bytes of dead records in segments

	drain   drain
	laps    int  // segments drained in a row that gave little room
	cleanAt unit // where the search for segments with much dead room goes on

	bad    []unit // units that failed their checksum and are to be taken out
	excess bool   // buckets may count more passed entries than there are

	work    uint64 // records and buckets that were gone through so that there is room
	n       counters
	classes []ClassStats
	_       [64]byte
}

func (p *partition) init(e *Engine, id int) bool {
	p.e, p.a, p.pool, p.id = e, e.arena.view(), &e.pool, uint16(id)
	p.classes = make([]ClassStats, max(len(e.classes.bounds), 1))
	first, spare := p.pool.alloc(false), p.pool.alloc(false)
	if first == 0 || spare == 0 {
		return false
	}
	p.idx.init(p.a, first)
	p.own(first)
	p.pushSpare(spare)
	p.units.Store(2)
	return true
}

func (p *partition) own(u unit) { p.a.desc(u).part = p.id }

func (p *partition) pushSpare(u unit) {
	d := p.a.desc(u)
	d.part = p.id
	atomic.StoreUint32(&d.state, unitSpare)
	d.next = p.spare
	p.spare = u
	p.spares++
}

// takeSpare takes a unit for a segment or for the index. Its callers have made sure of a spare; memory
// above the budget is the last resort that keeps a move under way from losing data.
func (p *partition) takeSpare() unit {
	u := p.spare
	if u == 0 {
		if u = p.pool.alloc(true); u != 0 {
			p.units.Add(1)
		}
		return u
	}
	p.spare = p.a.desc(u).next
	p.spares--
	return u
}

// fetch gets one more spare from the pool, if there is one.
func (p *partition) fetch() bool {
	// The last units are for partitions that have less than their share.
	room := p.pool.room.Load()
	if share := p.pool.share.Load(); room <= 0 || room <= int64(len(p.e.parts)) && p.units.Load() > share+share/8+2 {
		return false
	}
	u := p.pool.alloc(false)
	if u == 0 {
		return false
	}
	p.pushSpare(u)
	p.units.Add(1)
	return true
}

// giveUnit frees a unit that is in no list any more.
func (p *partition) giveUnit(u unit) {
	if p.spares < max(mostSpares, p.wanted) {
		p.pushSpare(u)
		return
	}
	p.units.Add(-1)
	p.pool.free(u)
}

// free is how many bytes can be written, once the segment that is being emptied has been.
func (p *partition) free() int64 {
	size := p.a.unitSize()
	n := int64(p.spares) << p.a.shift
	for _, u := range p.open {
		if u != 0 {
			n += int64(size - p.a.desc(u).used)
		}
	}
	if u := p.drain.unit; u != 0 {
		d := p.a.desc(u)
		n += int64(size - d.live)
	}
	return n
}

// trim gives spares above keep to the pool.
func (p *partition) trim(keep int) {
	for p.spares > keep {
		u := p.takeSpare()
		p.units.Add(-1)
		p.pool.free(u)
	}
}

// ensure makes room until there are count spares. It returns false if this partition has nothing left
// to give. Items may have moved or gone after it.
func (p *partition) ensure(count int, now int64) bool {
	p.wanted = count
	defer func() { p.wanted = 0 }()
	for p.spares < count {
		if p.fetch() {
			continue
		}
		if p.laps > maxLaps && p.sparing() || !p.reclaim(64, now) {
			p.laps = 0
			return false
		}
	}
	p.laps = 0
	return true
}

func (p *partition) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// gone reports whether an item has expired or was flushed.
func (p *partition) gone(r ref, h *header, now int64) bool {
	exp := h.exp()
	return exp != 0 && p.e.epoch+int64(exp) <= now || p.flushed(r, h)
}

func (p *partition) flushed(r ref, h *header) bool {
	barrier := p.e.barrier.Load()
	return barrier != 0 && p.a.version(r, h) <= barrier
}

// lookup searches a visible item and removes one that has expired.
func (p *partition) lookup(h uint64, key []byte, now int64) (place, *header) {
	at, hd := p.idx.find(h, key)
	if len(p.bad) > 0 || p.a.lazy != nil {
		at, hd = p.verified(h, key, at, hd)
	}
	if hd != nil && p.gone(p.idx.ref(at), hd, now) {
		if p.flushed(p.idx.ref(at), hd) {
			p.n.foundFlushed++
		} else {
			p.n.foundExpired++
		}
		p.countReclaimed(hd)
		p.removeItem(at)
		return place{}, nil
	}
	return at, hd
}

// removeItem takes an item out of the index and kills its records.
func (p *partition) removeItem(at place) {
	r := p.idx.ref(at)
	p.idx.remove(at)
	p.idx.items--
	p.dropItem(r)
}

// dropItem kills the records of an item that is no longer in the index.
func (p *partition) dropItem(r ref) {
	p.account(p.a.header(r).itemSize(), -1)
	p.killItem(r)
	if p.e.noEvict {
		p.e.full.Store(false)
	}
}

// indexRoom makes sure that one more entry finds room in the index.
func (p *partition) indexRoom(now int64) bool {
	x := &p.idx
	p.sweep(sweepPerInsert)
	if !x.over(p.loads().soft) {
		return true
	}
	p.growIndex()
	for x.over(loadHard) {
		switch {
		case x.resizing():
			p.sweep(64)
		case !p.ensure(keepSpares, now):
			return false
		default:
			p.growIndex()
			if !x.resizing() && x.over(loadHard) && !p.reclaim(64, now) {
				return false
			}
		}
	}
	return true
}

// loads is between which loads the index is kept.
func (p *partition) loads() (l struct{ soft, low, target uint64 }) {
	l.soft, l.low, l.target = loadSoft, loadLow, loadTarget
	// What one partition gives up must not let the next one grow, and so on in turns.
	if p.pool.room.Load()*shortShare <= p.pool.share.Load()*int64(len(p.e.parts)) {
		l.soft, l.low, l.target = loadSoftShort, loadLowShort, loadTargetShort
	}
	return l
}

// growIndex gathers units for the index, a quarter of its size while memory is free, else what
// eviction left at hand, and starts the resize once it is worth it: each looks at every item.
func (p *partition) growIndex() {
	x := &p.idx
	if x.resizing() {
		return
	}
	used := int((x.n + padBuckets) >> x.shift)
	worth := uint64(growShare)
	for want := used + max(1, used/growAhead); len(x.dir) < want; {
		if !p.fetch() && p.spares < keepSpares {
			worth = growShareShort
			break
		}
		u := p.takeSpare()
		x.addUnit(u)
		p.own(u)
	}
	x.grow(worth)
}

// sweep carries a resize of the index on.
func (p *partition) sweep(buckets int) {
	if p.idx.resizing() {
		p.work += uint64(buckets)
		p.idx.step(p.e.key, buckets, p.lose)
	}
}

// lose drops an item for which the index found no place. It takes a run of full buckets that the
// keyed hash makes all but impossible, and costs one cached item.
func (p *partition) lose(slot uint64) {
	p.n.indexDrops++
	p.n.evictions++
	p.dropItem(p.a.slotRef(slot))
}

func (p *partition) hash(key []byte) uint64 { return p.e.key.sum(key) }
