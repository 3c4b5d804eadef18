// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// eventsPerRound is how many descriptors a loop looks at before it asks for news.
	eventsPerRound = 128
	// wakeToken stands for the descriptor that wakes a loop up, where others have the number of their place.
	wakeToken = -1
	// doorToken and what is below it stand for listeners.
	doorToken = -2
	// watched is what the loop waits for at an idle connection.
	watched = unix.EPOLLIN | unix.EPOLLRDHUP
)

// loop serves many connections in turns. It has an epoll descriptor of its own, which is parked in the Go
// runtime's poller while nothing happens: so a loop that waits costs no thread, and one that works asks the
// kernel directly.
//
// One goroutine runs a loop. When a connection has to wait in the middle of a request, that goroutine stays
// with it and a new one takes over the loop: see away.go.
type loop struct {
	s *Server
	poller
	pollFn func(uintptr) bool

	// These are the running goroutine's.
	ws       *workspace // for the connection whose turn it is
	events   [eventsPerRound]unix.EpollEvent
	n, next  int     // events of this round, and how many of them were handled
	ready    []*conn // connections that have more to do in this round
	served   int     // how many of them have done it
	later    []*conn // connections that have more to do in the next round
	doors    []*door
	hurried  []*conn // connections with a deadline
	timer    time.Time
	idleScan int
	sweeping sweep
	drainBy  time.Time
	stage    int32 // what this loop knows of the server's stage

	slots     slots
	counts    counters
	yields    atomic.Uint64
	idleKicks atomic.Uint64
	attention atomic.Bool // something below wants it

	mu       sync.Mutex
	back     []*conn // connections that come back from goroutines of their own
	passing  []*away // goroutines that let a round go by
	newDoors []*door // listeners to be added
	_        [64]byte
}

func newLoop(s *Server) (*loop, error) {
	p, err := newPoller()
	if err != nil {
		return nil, fmt.Errorf("make an event loop: %w", err)
	}
	l := &loop{s: s, poller: p}
	l.slots.init(s.cfg.MaxConnections)
	l.pollFn = l.poll
	if s.cfg.IdleTimeout > 0 {
		l.wakeBy(time.Now().Add(idleTick))
	}
	return l, nil
}

// run serves until the loop ends or another goroutine has taken it over.
func (l *loop) run() {
	for l.round() {
		l.wait()
	}
}

// round gives everybody who is ready a turn. False means that this goroutine no longer runs the loop: it
// has ended, or a connection has kept the goroutine, and another goroutine goes on where this one was.
func (l *loop) round() bool {
	for l.next < l.n {
		ev := &l.events[l.next]
		l.next++
		if !l.dispatch(ev) {
			return false
		}
	}
	for l.served < len(l.ready) {
		c := l.ready[l.served]
		l.served++
		c.queued = false
		if !l.turn(c) {
			return false
		}
	}
	if l.attention.Load() && !l.attend() {
		return false
	}
	if !l.timer.IsZero() && !time.Now().Before(l.timer) {
		l.tick()
	}
	return true
}

// wait asks for the next events. It waits for them unless somebody is ready.
func (l *loop) wait() {
	l.next, l.n, l.served = 0, 0, 0
	l.ready, l.later = l.later, l.ready[:0]
	if len(l.ready) > 0 {
		l.n = epollNow(l.epfd, l.events[:])
		return
	}
	if err := l.raw.Read(l.pollFn); errors.Is(err, os.ErrDeadlineExceeded) {
		_ = l.file.SetReadDeadline(time.Time{}) // tick sets the next one
	}
}

func (l *loop) poll(uintptr) bool {
	l.n = epollNow(l.epfd, l.events[:])
	return l.n > 0
}

// dispatch handles one event. False means that this goroutine no longer runs the loop.
func (l *loop) dispatch(ev *unix.EpollEvent) bool {
	if ev.Fd < 0 {
		if ev.Fd <= doorToken {
			l.accept(int(doorToken - ev.Fd))
		}
		return true
	}
	c := l.slots.at(ev.Fd)
	if c == nil || c.queued {
		return true
	}
	if a := c.away.Load(); a != nil {
		a.poke()
		return true
	}
	return l.turn(c)
}

// turn lets a connection do what it can without waiting. False means that this goroutine no longer runs the
// loop.
func (l *loop) turn(c *conn) bool {
	alive := c.step()
	if c.away.Load() != nil {
		c.comeBack(alive)
		return false
	}
	if alive {
		l.settle(c)
	} else {
		l.close(c)
	}
	return true
}

// settle does what is left to do after a turn.
func (l *loop) settle(c *conn) {
	if c.hurried && !c.inHurry {
		c.inHurry = true
		l.hurried = append(l.hurried, c)
		l.wakeBy(c.hurryBy)
	}
	switch {
	case c.ws != nil:
		l.yields.Add(1)
		l.enqueue(c)
	case l.stage >= stageDraining:
		l.wind(c)
	}
}

// enqueue gives a connection a turn in the next round.
func (l *loop) enqueue(c *conn) {
	if !c.queued {
		c.queued = true
		l.later = append(l.later, c)
	}
}

// close ends a connection.
func (l *loop) close(c *conn) {
	l.s.logConn(c, false)
	c.giveUp()
	if c.inHurry {
		l.hurried = slices.DeleteFunc(l.hurried, func(other *conn) bool { return other == c })
	}
	l.slots.free(c)
	l.s.left()
}

// call makes the loop look at what others have left for it.
func (l *loop) call() {
	l.attention.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wake()
}

// attend looks at what others have left for the loop. False means that the loop ends.
func (l *loop) attend() bool {
	l.attention.Store(false)
	l.mu.Lock()
	back, passing, doors := l.back, l.passing, l.newDoors
	l.back, l.passing, l.newDoors = nil, nil, nil
	l.mu.Unlock()
	for _, d := range doors {
		l.open(d)
	}
	for _, c := range back {
		l.takeBack(c)
	}
	for _, a := range passing {
		a.poke()
	}
	l.beginSweep()
	if stage := l.s.stage.Load(); stage != l.stage {
		l.stage = stage
		switch stage {
		case stageDraining:
			l.drain()
		case stageClosing:
			l.closeAll()
		case stageStopped:
			l.stop()
			return false
		}
	}
	return true
}

// stop ends the loop.
func (l *loop) stop() {
	for _, d := range l.doors {
		l.shut(d)
	}
	l.release()
	l.s.looping.Done()
}

// release closes the loop's own descriptors.
func (l *loop) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.poller.close()
}
