// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// sweepPerTick is how many connections are compared with a stricter lock before others have their turn.
const sweepPerTick = 1024

// sweep is how far a loop has come in comparing its connections with the lock.
type sweep struct {
	seen uint64 // the change of the lock that it began for
	at   int    // the place to go on at
	left int    // how many places are still to be looked at
}

// beginSweep has the loop compare its connections with the lock if that has become stricter. A change in the middle
// of a sweep makes it go once round from where it is, so that frequent changes cannot keep it from the last places.
func (l *loop) beginSweep() {
	if locks := l.s.locks.Load(); l.sweeping.seen != locks {
		l.sweeping.seen = locks
		l.sweeping.left = l.slots.inUse()
		l.wakeBy(time.Now())
	}
}

// sweep closes connections that the lock does not admit any more, a bounded number at a time.
func (l *loop) sweep(now time.Time) {
	w := &l.sweeping
	if w.left <= 0 || l.stage >= stageClosing {
		return
	}
	k := l.s.lock.Load()
	var buf [sweepPerTick]*conn
	conns, more := l.slots.between(w.at, w.at+sweepPerTick, buf[:0])
	queued := false
	for _, c := range conns {
		if !k.admits(c.remote) {
			queued = queued || c.queued
			c.evict(k)
		}
	}
	if queued {
		l.later = slices.DeleteFunc(l.later, func(c *conn) bool { return c.ending && l.dropQueued(c) })
	}
	w.left -= sweepPerTick
	w.at += sweepPerTick
	if !more {
		w.at = 0
	}
	if w.left > 0 {
		l.wakeBy(now.Add(time.Millisecond))
	}
}

// dropQueued closes a connection that was to have another turn.
func (l *loop) dropQueued(c *conn) bool {
	c.queued = false
	l.close(c)
	return true
}

// evict closes a connection that the lock does not admit any more. That of a loop is evicted by the loop.
func (c *conn) evict(k *lock) {
	reason := reasonPeerRemoved
	if !k.open {
		reason = reasonGateClosed
	}
	c.s.closes[reason].Add(1)
	c.s.tellRarely(&c.s.evictedAt, "Connection closed, its address is not served any more",
		"reason", reason, "peer", c.remote.String())
	if c.l == nil {
		// Its goroutine notices; the deadline keeps a close that has something to say from waiting.
		c.wake()
		_ = c.nc.Close()
		return
	}
	if a := c.away.Load(); a != nil {
		// Another goroutine works on it: that finds the socket shut, and the loop closes what comes back.
		a.evicted.Store(true)
		_ = unix.Shutdown(c.fd, unix.SHUT_RDWR)
		a.poke()
		return
	}
	c.ended = endError
	if c.queued {
		c.ending = true
		return
	}
	c.l.close(c)
}
