// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"time"
)

// testClock is a clock that clients may stop and move. It exists only where test hooks are on.
type testClock struct {
	start time.Time

	mu     sync.Mutex
	moved  int64 // seconds that clients have added
	paused bool
	last   int64
}

func newTestClock() *testClock {
	return &testClock{start: time.Now()}
}

// now never steps back, whatever clients add.
func (c *testClock) now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.paused {
		second := (c.start.UnixNano() + int64(time.Since(c.start))) / int64(time.Second)
		c.last = max(c.last, second+c.moved)
	}
	return c.last
}

// command stops the clock, lets it run again, or moves it by some seconds.
func (c *testClock) command(pause, resume bool, seconds int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case pause:
		c.paused = true
	case resume:
		c.paused = false
	default:
		const most = 1 << 31 // records keep seconds in 32 bits
		c.moved = max(min(c.moved+min(max(seconds, -most), most), most), -most)
		c.last += max(seconds, 0) // a stopped clock moves as well
	}
}
