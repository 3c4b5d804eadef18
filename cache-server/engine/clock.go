// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"math"
	"time"
)

const never = math.MaxInt64

// Now is the engine's clock in whole seconds.
func (e *Engine) Now() int64 {
	if e.clock != nil {
		return e.clock() + e.ahead
	}
	return e.second.Load()
}

// realSecond is the real clock: the wall time of the start, carried on by monotonic time.
func (e *Engine) realSecond() int64 {
	return (e.start.UnixNano()+int64(time.Since(e.start)))/int64(time.Second) + e.ahead
}

// tick is Now for an operation: a flush that has come due takes effect before it.
func (e *Engine) tick() int64 {
	now := e.Now()
	if now >= e.flushAt.Load() {
		e.flushDue(now)
	}
	return now
}

// since is a second of the clock as records keep it.
func (e *Engine) since(now int64) uint32 {
	return uint32(min(max(now-e.epoch, 1), int64(expNever)-1))
}

// expiry is an expiry as records keep it. What is past becomes 1, a second before the start; what is
// more than 136 years off becomes the latest second that a record can hold.
func (e *Engine) expiry(expires int64) uint32 {
	if expires == 0 {
		return 0
	}
	if expires <= e.epoch {
		return 1
	}
	return e.since(expires)
}

func (e *Engine) expires(exp uint32) int64 {
	if exp == 0 {
		return 0
	}
	return e.epoch + int64(exp)
}

// FlushAll makes every item that was stored before the engine second at invisible once the clock
// reaches it. 0, or a second that has come, means now: what is stored after the call stays, even in the
// same second. As in memcached there is one pending flush at most, and each call replaces it.
func (e *Engine) FlushAll(at int64) {
	e.tick() // one that has come due must not be replaced
	e.flushMu.Lock()
	defer e.flushMu.Unlock()
	if at <= e.Now() {
		e.raiseBarrier()
		e.flushAt.Store(never)
		return
	}
	e.flushAt.Store(at)
}

// raiseBarrier flushes all that was stored so far. An operation that runs meanwhile may have found its item before
// the barrier was there and store it anew: what it stored until the second look at the versions is flushed by that,
// and what it stores later it finds flushed itself, since the barrier has risen under it (see partition.apply).
func (e *Engine) raiseBarrier() {
	e.barrier.Store(e.cas.Load())
	e.barrier.Store(e.cas.Load())
}

// flushDue lets a pending flush take effect. No operation saw the clock between the flush's second and
// this one, so that all items stored so far were stored before it.
func (e *Engine) flushDue(now int64) {
	e.flushMu.Lock()
	defer e.flushMu.Unlock()
	if now >= e.flushAt.Load() {
		e.raiseBarrier()
		e.flushAt.Store(never)
	}
}
