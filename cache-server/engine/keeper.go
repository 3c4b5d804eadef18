// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// keeperPeriod is how often the keeper looks for work; the real clock is as fine.
	keeperPeriod = 100 * time.Millisecond
	// keeperQuantum bounds how long it works at one thing per period, unless the budget has fallen.
	keeperQuantum = 2 * time.Millisecond
	// crawlQuantum is the same for the search for expired items while it finds many.
	crawlQuantum = 10 * time.Millisecond
	// walkShare is how many of a segment's items must be gone for a walk to be worth it: one in this many. Where
	// there are fewer, the next walk waits twice as long, up to 2^mostPatience seconds.
	walkShare    = 8
	mostPatience = 6
	// keeperSpell is how long it works before others may run: where there is one processor, nobody else learns
	// of new requests before. keeperPause is how long it lets them.
	keeperSpell = 500 * time.Microsecond
	keeperPause = 100 * time.Microsecond
	// keeperRecords bounds what it does under one hold of a lock.
	keeperRecords = 64
)

// keeper is the goroutine that does what no request should wait for.
type keeper struct {
	kick, quit, done chan struct{}
	once             sync.Once
	crawl            crawl
	rested           time.Time // when it let others run last
}

func (k *keeper) start(e *Engine) {
	k.kick, k.quit, k.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go k.run(e)
}

func (k *keeper) stop() {
	k.once.Do(func() { close(k.quit) })
	<-k.done
}

func (k *keeper) wake() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

func (k *keeper) run(e *Engine) {
	defer close(k.done)
	ticker := time.NewTicker(keeperPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-k.quit:
			return
		case <-k.kick:
		case <-ticker.C:
		}
		for e.maintain() {
			select {
			case <-k.quit:
				return
			default:
				e.keeper.rest()
			}
		}
	}
}

// rest lets others run if it is time. Yielding would not do: the Go scheduler polls the network only when nothing
// else is ready to run.
func (k *keeper) rest() {
	if time.Since(k.rested) < keeperSpell {
		return
	}
	time.Sleep(keeperPause)
	k.rested = time.Now()
}

// maintain does a slice of the keeper's work. It reports whether the budget is still exceeded.
func (e *Engine) maintain() (more bool) {
	if e.clock == nil {
		e.second.Store(e.realSecond())
	}
	now := e.tick()
	e.keeper.rested = time.Now()
	deadline := e.keeper.rested.Add(keeperQuantum)
	for more = true; more && time.Now().Before(deadline); e.keeper.rest() {
		more = e.shrink()
	}
	deadline = time.Now().Add(keeperQuantum)
	for busy := true; busy && time.Now().Before(deadline); e.keeper.rest() {
		busy = e.tendIndexes()
	}
	e.balance(now)
	e.crawlExpired(now)
	return more
}

// shrink gives one unit back to the kernel if the budget is exceeded, or evicts towards it.
func (e *Engine) shrink() bool {
	over, done := e.pool.shed()
	return over && (done || e.evictSomewhere())
}

// tendIndexes carries resizes on, and lets indexes shrink, a step in each. It reports whether there may
// be more to do.
func (e *Engine) tendIndexes() (busy bool) {
	var items uint64
	defer func() { e.notePower(items) }()
	for i := range e.parts {
		p := &e.parts[i]
		p.mu.Lock()
		if !p.closed && p.trimIndex() {
			busy = true
		}
		p.mend()
		items += p.idx.items
		p.mu.Unlock()
	}
	return busy
}

// notePower keeps the level that memcached's hash table would have: it starts at 16, is raised where there are
// half more items than buckets, and never falls.
func (e *Engine) notePower(items uint64) {
	const first = 16
	power := max(e.power.Load(), first)
	for items > 3<<(power-1) {
		power++
	}
	e.power.Store(power)
}

// trimIndex takes a step towards a smaller index if much of it is empty. It reports whether it did
// something.
func (p *partition) trimIndex() bool {
	x := &p.idx
	if x.resizing() {
		p.sweep(keeperRecords)
		return true
	}
	loads := p.loads()
	if x.shrink(loads.low, loads.target) {
		return true
	}
	if x.over(loads.soft) {
		return false
	}
	u := x.trim()
	if u == 0 {
		return false
	}
	p.units.Add(-1)
	p.pool.free(u)
	return true
}

// balance lets the partition with the most units give some, if memory is short and another has far
// less than its share: a large value may have taken them there.
func (e *Engine) balance(now int64) {
	if e.pool.room.Load() > 0 {
		return
	}
	share := e.pool.share.Load()
	rich, least := &e.parts[0], e.parts[0].units.Load()
	for i := range e.parts {
		n := e.parts[i].units.Load()
		least = min(least, n)
		if n > rich.units.Load() {
			rich = &e.parts[i]
		}
	}
	if least >= share-share/8-1 {
		return
	}
	for range 16 {
		if rich.units.Load() <= share+share/8+1 || !rich.giveSome(now) {
			return
		}
	}
}

// crawl is where the search for expired items stands. Segments are walked round by round; those whose
// earliest expiry has not come are passed over.
type crawl struct {
	unit    unit // the unit at hand; 0 between two rounds
	last    unit // where the round ends
	cursor  uint32
	seq     uint64
	second  int64  // when the round began
	barrier uint64 // the flush that this round looks for
	flushed uint64 // the flush that earlier rounds have cleared

	seen, taken int  // items of the unit at hand that were looked at, and how many were gone
	walked      int  // items looked at since the start
	busy        bool // the last slice found much, and there is more
}

// crawlExpired reclaims expired and flushed items for a while, and begins one round a second.
func (e *Engine) crawlExpired(now int64) {
	c := &e.keeper.crawl
	quantum := keeperQuantum
	if c.busy {
		quantum = crawlQuantum
	}
	deadline := time.Now().Add(quantum)
	if c.unit == 0 {
		if now == c.second {
			return
		}
		e.pool.mu.Lock()
		c.last = e.pool.high
		e.pool.mu.Unlock()
		c.unit, c.cursor, c.second, c.barrier = 1, 0, now, e.barrier.Load()
	}
	for n := 0; c.unit <= c.last; n++ {
		if n%8 == 7 {
			if !time.Now().Before(deadline) {
				c.busy = c.taken*walkShare >= c.seen && c.taken > 0
				return
			}
			e.keeper.rest()
		}
		if e.crawlUnit(c, now) {
			c.unit, c.cursor = c.unit+1, 0
		}
	}
	c.unit, c.flushed, c.busy = 0, c.barrier, false
}

func isSegment(state uint32) bool { return state == unitOpen || state == unitSealed }

// crawlUnit walks a part of one unit. It reports whether it is done with it.
func (e *Engine) crawlUnit(c *crawl, now int64) bool {
	d := e.arena.desc(c.unit)
	if !isSegment(atomic.LoadUint32(&d.state)) {
		return true
	}
	// The unit may change hands before the lock is held, so all is checked again under it.
	id := int(d.part)
	if id >= len(e.parts) {
		return true
	}
	p := &e.parts[id]
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.mend()
	if p.closed || !isSegment(d.state) || d.part != p.id || c.cursor > 0 && d.seq != c.seq {
		return true
	}
	if c.cursor == 0 {
		due := d.minExp != 0 && e.epoch+int64(d.minExp) <= now && d.walkAt <= e.since(now)
		if !due && c.barrier == c.flushed {
			return true
		}
		c.seq, d.minExp, c.seen, c.taken = d.seq, 0, 0, 0
	}
	start := p.a.start(c.unit)
	for range keeperRecords {
		if c.cursor >= d.used {
			c.judge(d, e.since(now))
			return true
		}
		r := start + ref(c.cursor)
		c.cursor += p.a.recordSize(r)
		h := p.a.header(r)
		if h.has(bitDead) || h.isFragment() {
			continue
		}
		c.seen++
		c.walked++
		if !p.gone(r, h, now) {
			p.noteExpiry(r, h.exp())
			continue
		}
		if at := p.idx.findRef(p.hash(h.key()), r); at.found() {
			c.taken++
			p.countReclaimed(h)
			p.n.crawled++
			p.classAt(h).Crawled++
			p.removeItem(at)
			if !isSegment(d.state) {
				return true
			}
		}
	}
	return false
}

// judge decides when a segment is worth the next walk. So either a walk takes much with it, or it is a rare one,
// also where items that expire soon stand among others that do not.
func (c *crawl) judge(d *unitDesc, now uint32) {
	if c.taken*walkShare >= c.seen {
		d.patience, d.walkAt = 0, 0
		return
	}
	d.patience = min(d.patience+1, mostPatience)
	d.walkAt = now + 1<<d.patience
}
