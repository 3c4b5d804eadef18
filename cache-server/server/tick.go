// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"math"
	"time"
)

const (
	// idleTick is how often idle connections are looked for, and idlePerTick how many are looked at before
	// others have their turn.
	idleTick    = time.Second
	idlePerTick = 1024
)

// hurryTick is how soon a connection with a deadline is looked at again that was busy when it came.
const hurryTick = 100 * time.Millisecond

// wakeBy makes sure that the loop ticks no later than at a point in time.
func (l *loop) wakeBy(at time.Time) {
	if l.timer.IsZero() || at.Before(l.timer) {
		l.timer = at
		_ = l.file.SetReadDeadline(at)
	}
}

// tick does what has come due, and sets the timer for what comes next.
func (l *loop) tick() {
	now := time.Now()
	l.timer = time.Time{}
	_ = l.file.SetReadDeadline(time.Time{})
	for _, d := range l.doors {
		l.reopen(d, now)
	}
	l.hurryUp(now)
	l.sweep(now)
	if l.stage == stageDraining {
		l.lastCall(now)
		return
	}
	if l.s.cfg.IdleTimeout > 0 {
		l.kickIdle(now)
	}
}

// reopen accepts again after a failure.
func (l *loop) reopen(d *door, now time.Time) {
	switch {
	case d.fd < 0 || d.reopen.IsZero():
	case d.reopen.After(now):
		l.wakeBy(d.reopen)
	default:
		d.reopen = time.Time{}
		l.watch(d)
	}
}

// hurryUp closes connections that hold much memory with a request that does not end.
func (l *loop) hurryUp(now time.Time) {
	waiting := l.hurried[:0]
	for _, c := range l.hurried {
		again := now.Add(hurryTick)
		// Who is away is not to be looked at: another goroutine works on it.
		if c.away.Load() == nil && !c.queued {
			switch {
			case !c.hurried:
				c.inHurry = false
				continue
			case !c.hurryBy.After(now):
				c.inHurry = false // close need not look for it
				c.closing(reasonSlowWriter)
				l.close(c)
				continue
			}
			again = maxTime(c.hurryBy, again)
		}
		l.wakeBy(again)
		waiting = append(waiting, c)
	}
	clear(l.hurried[len(waiting):])
	l.hurried = waiting
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// kickIdle closes connections that have asked for nothing for too long.
func (l *loop) kickIdle(now time.Time) {
	var buf [idlePerTick]*conn
	conns, more := l.slots.between(l.idleScan, l.idleScan+idlePerTick, buf[:0])
	second := l.s.engine.Now()
	for _, c := range conns {
		// What is away has deadlines of its own, and memcached leaves UNIX sockets alone.
		if c.away.Load() == nil && !c.queued && !c.local &&
			second-c.lastCommand.Load() > int64(l.s.cfg.IdleTimeout/time.Second) {
			l.idleKicks.Add(1)
			c.closing(reasonIdle)
			l.close(c)
		}
	}
	l.idleScan += idlePerTick
	if more {
		l.wakeBy(now.Add(time.Millisecond))
		return
	}
	l.idleScan = 0
	l.wakeBy(now.Add(idleTick))
}

// drain closes the listeners, and lets every connection answer what has arrived.
func (l *loop) drain() {
	for _, d := range l.doors {
		l.shut(d)
	}
	l.drainBy = time.Now().Add(lastCall)
	l.wakeBy(l.drainBy)
	l.enqueueAll()
}

// enqueueAll gives every connection a turn that is not away.
func (l *loop) enqueueAll() {
	conns, _ := l.slots.between(0, math.MaxInt32, nil)
	for _, c := range conns {
		if c.away.Load() == nil {
			l.enqueue(c)
		}
	}
}

// lastCall looks once more at the connections that were idle when the drain began.
func (l *loop) lastCall(now time.Time) {
	if now.Before(l.drainBy) {
		l.wakeBy(l.drainBy)
		return
	}
	l.enqueueAll()
}

// wind closes a connection in a drain once it has answered all that has arrived.
func (l *loop) wind(c *conn) {
	switch {
	case c.lastRead == c.roomRead:
		l.enqueue(c) // there may be more
	case len(c.rest) > 0 || c.skip > 0:
		// Drain closes it when its time is up.
	case c.lastRead > 0 && c.begun || !time.Now().Before(l.drainBy):
		l.close(c)
	}
}

// closeAll closes what is left. Who is away notices by the server's context.
func (l *loop) closeAll() {
	l.ready, l.later, l.served = l.ready[:0], l.later[:0], 0
	conns, _ := l.slots.between(0, math.MaxInt32, nil)
	for _, c := range conns {
		if c.away.Load() == nil {
			l.close(c)
		}
	}
}
