// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// awaySize is about what the goroutine of a connection that waits takes beside its buffers.
const awaySize = 10 << 10

// largeShare is what a connection takes of the budget beside a large reply, so that it may wait for its client.
const largeShare = workspaceSize + awaySize

// maxWaiters is how many connections may wait for memory at once that have none to wait with.
const maxWaiters = 64

// away is the state of a connection that waits in the middle of a request: for memory, for the rest of a
// large value, for its client to read. It keeps the goroutine on which it ran, and another one takes over its
// loop, so that what executes requests may simply wait. How many there are is bounded by the budget that they
// take from.
type away struct {
	news  chan struct{} // holds one if something has happened
	held  int64         // what it takes of the budget
	state atomic.Uint32 // what it waits for, for stats conns
	// evicted tells that the lock does not admit it any more.
	evicted atomic.Bool
}

// The states of connections, as memcached names them. All but the first are of those who are away.
const (
	stateRead uint32 = iota
	stateValue
	stateWrite
	stateWatch
)

var stateNames = [...]string{
	stateRead: "conn_read", stateValue: "conn_nread", stateWrite: "conn_mwrite", stateWatch: "conn_watch",
}

func (a *away) poke() {
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// onLoop tells whether the connection must not wait where it runs.
func (c *conn) onLoop() bool {
	return c.l != nil && c.away.Load() == nil
}

// leave lets the connection wait from now on, until it is done with what it has read. False means that the
// budget has no room for that.
func (c *conn) leave() bool {
	if !c.onLoop() {
		return true
	}
	if !c.s.transfer.try(awaySize) {
		return false
	}
	c.leaveWith(awaySize)
	return true
}

// leaveWith is leave for who has taken from the budget what it needs, or is bounded otherwise.
func (c *conn) leaveWith(held int64) {
	l := c.l
	c.away.Store(&away{news: make(chan struct{}, 1), held: held})
	// Nothing is asked for any more. What the kernel reports all the same, it reports once.
	_ = epollSet(l.epfd, unix.EPOLL_CTL_MOD, c.fd, unix.EPOLLET, c.place)
	if c.ws == l.ws {
		l.ws = nil
	}
	go l.run()
}

// comeBack gives the connection back to its loop, alive or to be closed.
func (c *conn) comeBack(alive bool) {
	c.ending = !alive
	if c.ws != nil {
		c.publish()
		giveWorkspace(c.ws)
		c.ws = nil
	}
	a := c.away.Load()
	c.s.transfer.give(a.held)
	c.l.comeBack(c)
}

func (l *loop) comeBack(c *conn) {
	l.mu.Lock()
	l.back = append(l.back, c)
	l.mu.Unlock()
	l.call()
}

// takeBack serves a connection on the loop again.
func (l *loop) takeBack(c *conn) {
	if a := c.away.Swap(nil); a.evicted.Load() {
		c.ending = true
	}
	if c.ending || l.stage >= stageClosing {
		l.close(c)
		return
	}
	if err := epollSet(l.epfd, unix.EPOLL_CTL_MOD, c.fd, watched, c.place); err != nil {
		l.close(c)
		return
	}
	if l.stage >= stageDraining {
		l.enqueue(c)
		return
	}
	l.settle(c)
}

// await waits until the socket is ready for what events name. It is for connections that are away.
func (c *conn) await(events uint32, deadline time.Time) error {
	a := c.away.Load()
	a.state.Store(stateValue)
	if events == unix.EPOLLOUT {
		a.state.Store(stateWrite)
	}
	select {
	case <-a.news: // of before
	default:
	}
	if err := epollSet(c.l.epfd, unix.EPOLL_CTL_MOD, c.fd, events|unix.EPOLLONESHOT, c.place); err != nil {
		return err
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-a.news:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	case <-c.s.ctx.Done():
		return net.ErrClosed
	}
}

// awaitMemory takes n bytes from the budget, waiting for them if need be.
func (c *conn) awaitMemory(n int64) bool {
	if c.s.transfer.try(n) {
		return true
	}
	if c.s.waiters.Add(1) > maxWaiters {
		c.s.waiters.Add(-1)
		return false
	}
	defer c.s.waiters.Add(-1)
	if c.onLoop() {
		c.leaveWith(0)
	}
	return c.s.transfer.wait(c.s.ctx, n, c.s.cfg.Timeouts.Budget)
}

// breathe lets all others of the loop have a turn before this connection goes on. Who cannot leave the loop
// for want of memory goes on at once.
func (c *conn) breathe() {
	c.left = c.share()
	if c.l == nil || !c.leave() {
		return
	}
	c.l.yields.Add(1)
	a := c.away.Load()
	select {
	case <-a.news:
	default:
	}
	c.l.mu.Lock()
	c.l.passing = append(c.l.passing, a)
	c.l.mu.Unlock()
	c.l.call()
	select {
	case <-a.news:
	case <-c.s.ctx.Done():
	}
}
