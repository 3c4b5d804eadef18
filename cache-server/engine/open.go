// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	minUnitShift = 14
	maxUnitShift = 18
	// unitsWanted is how many units each partition should have, within the bounds of their size: about four of
	// them are not full.
	unitsWanted = 512
	// unitsPerPartition is how many it must have, or there are fewer partitions.
	unitsPerPartition = 64
	// unitsLeast is how many each needs: two of index, two open segments, one being drained, spares.
	unitsLeast    = 8
	maxPartitions = 256
	// maxItem bounds MaxItemSize; it is memcached's own bound.
	maxItem = 1 << 30
)

// Engine stores items within one budget of memory. Its methods may be called from any goroutine.
type Engine struct {
	arena *arena
	pool  pool
	parts []partition
	key   hashKey
	// maxItem is the largest item in bytes as ItemSize counts them.
	maxItem int

	cas     atomic.Uint64 // the last CAS given out
	barrier atomic.Uint64 // items up to this CAS were flushed
	flushAt atomic.Int64  // when the next flush is due
	flushMu sync.Mutex

	clock  func() int64 // the injected clock, or nil
	start  time.Time
	second atomic.Int64 // the real clock's second, kept by the keeper
	epoch  int64        // expiry times are kept as seconds after it
	ahead  int64        // how far the clock is ahead, so that it has not stepped back over a restart
	// sealedBudget is the budget of the process before, in bytes, after a warm start.
	sealedBudget int64

	classes *classTable
	noEvict bool
	// full tells that room was last asked for in vain and that nothing has gone since, where nothing is evicted:
	// so that what is refused in one partition is not taken in the next.
	full    atomic.Bool
	power   atomic.Uint32 // see notePower
	onEvict atomic.Pointer[func(key []byte, it *Item)]

	// big lets one mutation at a time gather room from all partitions.
	big    sync.Mutex
	keeper keeper
	// verifier compares the checksums of a reattached arena.
	verifier verifier
	sums     []uint32 // by unit, what a graceful stop left
	pending  []bool   // by unit, which are not verified yet; nil after a cold start
	onLoss   func(Loss)

	claims atomic.Int64 // what still needs the mapping: the engine until Close, and snapshots
	pinned atomic.Int64 // units that snapshots pin
}

// New is Open for those who do not care how the engine began.
func New(cfg Config) (*Engine, error) {
	e, _, err := Open(cfg)
	return e, err
}

// Open makes an engine and starts its keeper, the goroutine that reclaims expired items, follows the
// budget and tends the index. Close or Seal ends it. If the backing holds what a graceful stop left there,
// and all of it is sound and fits the configuration, the items are there again; the report tells. Whatever
// is wrong with the backing's content is no error but a cold start.
func Open(cfg Config) (*Engine, Report, error) {
	e := &Engine{
		maxItem: cfg.MaxItemSize, noEvict: cfg.NoEvict, clock: cfg.Now, start: time.Now(), onLoss: cfg.OnLoss,
		classes: newClassTable(cfg.SizeClasses),
	}
	report, err := e.begin(&cfg)
	if err != nil {
		if cfg.Backing != nil {
			err = errors.Join(err, cfg.Backing.Close())
		}
		return nil, Report{}, err
	}
	e.claims.Store(1)
	e.second.Store(e.realSecond())
	e.notePower(0)
	e.keeper.start(e)
	e.verifier.start(e)
	return e, report, nil
}

// begin fills the engine, warm or cold.
func (e *Engine) begin(cfg *Config) (Report, error) {
	if err := checkConfig(*cfg); err != nil {
		return Report{}, err
	}
	if cfg.Backing == nil {
		return Report{}, e.beginCold(cfg)
	}
	why := e.attach(cfg)
	if why == nil {
		return e.reportWarm(), nil
	}
	if err := errors.Join(cfg.Backing.cut(0), cfg.Backing.openRecord()); err != nil {
		return Report{}, err
	}
	return Report{Reason: why.Error()}, e.beginCold(cfg)
}

func (e *Engine) beginCold(cfg *Config) error {
	shift, count := geometry(cfg.MaxBytes)
	a, err := newArena(cfg.Backing, cfg.MaxBytes, shift, count*4)
	if err != nil {
		return err
	}
	e.arena, e.key, e.parts = a, newHashKey(), make([]partition, count)
	e.pool.a, e.pool.parts = a, int64(count)
	e.pool.setBudget(cfg.MaxBytes)
	e.flushAt.Store(never)
	if e.clock != nil {
		e.epoch = e.clock() - 2
	} else {
		e.epoch = e.realSecond() - 2
	}
	for i := range e.parts {
		if !e.parts[i].init(e, i) {
			return errors.Join(fmt.Errorf("MaxBytes %d does not hold %d partitions, or its backing has less room",
				cfg.MaxBytes, count), unix.Munmap(a.mem))
		}
	}
	return nil
}

func checkConfig(cfg Config) error {
	if cfg.MaxBytes < MinBytes {
		return fmt.Errorf("MaxBytes %d is below the minimum %d", cfg.MaxBytes, MinBytes)
	}
	if cfg.MaxBytes > maxReserve {
		return fmt.Errorf("MaxBytes %d is above the maximum %d", cfg.MaxBytes, int64(maxReserve))
	}
	if len(cfg.SizeClasses) > maxSizeClasses {
		return fmt.Errorf("SizeClasses are %d, more than the maximum %d", len(cfg.SizeClasses), maxSizeClasses)
	}
	if cfg.MaxItemSize < MinItemSize {
		return fmt.Errorf("MaxItemSize %d is below the minimum %d", cfg.MaxItemSize, MinItemSize)
	}
	if most := min(cfg.MaxBytes/2, maxItem); int64(cfg.MaxItemSize) > most {
		return fmt.Errorf("MaxItemSize %d is above the maximum %d for MaxBytes %d", cfg.MaxItemSize, most, cfg.MaxBytes)
	}
	return nil
}

// geometry chooses the size of a unit and the number of partitions, a power of two.
func geometry(budget int64) (shift uint, count int) {
	count = 1
	for count < 4*runtime.GOMAXPROCS(0) && count < maxPartitions {
		count *= 2
	}
	shift = uint(bits.Len64(uint64(budget/int64(count*unitsWanted))|1) - 1)
	// The kernel takes back whole pages only.
	page := uint(bits.Len(uint(unix.Getpagesize())) - 1)
	shift = max(min(max(shift, minUnitShift), maxUnitShift), page)
	for count > 1 && budget>>shift < int64(count*unitsPerPartition) {
		count /= 2
	}
	return shift, count
}

// OnEvict has fn called for every item that is evicted from now on; nil ends that. fn runs under a lock: it must
// not wait, call the engine, or keep key or it.
func (e *Engine) OnEvict(fn func(key []byte, it *Item)) {
	if fn == nil {
		e.onEvict.Store(nil)
		return
	}
	e.onEvict.Store(&fn)
}

// Close ends the keeper and frees the memory, or leaves that to the last Snapshot that is held. Gets then
// miss and mutations are OutOfMemory. What is in the backing is not sealed, and so is lost.
func (e *Engine) Close() error {
	if !e.shut() {
		return nil
	}
	return e.unhold()
}

// shut ends all work. It returns false if that has been done before.
func (e *Engine) shut() bool {
	e.keeper.stop()
	e.verifier.stop()
	e.big.Lock()
	defer e.big.Unlock()
	closed := false
	for i := range e.parts {
		p := &e.parts[i]
		p.mu.Lock()
		closed = p.closed
		p.closed = true
		p.mu.Unlock()
	}
	return !closed
}

// partition is where a hash belongs.
func (e *Engine) partition(h uint64) *partition {
	return &e.parts[h&uint64(len(e.parts)-1)]
}
