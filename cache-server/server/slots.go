// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// slabSize is how many connections are allocated at once: one by one they would cost the garbage collector
// and the allocator more.
const slabSize = 64

type slab [slabSize]conn

// slots are the places of a loop's connections. A place's number is what the kernel is given along with the
// descriptor. Places are filled by whoever accepts, and freed by the loop alone.
type slots struct {
	slabs []atomic.Pointer[slab] // never grows

	mu   sync.Mutex // for filling, freeing, and looking at all of them
	used int32      // places that have been in use
	idle []int32    // those of them that are free
}

func (s *slots) init(most int) {
	s.slabs = make([]atomic.Pointer[slab], (most+slabSize-1)/slabSize)
}

// at is the connection in a place, nil if there is none. It is for the loop alone.
func (s *slots) at(place int32) *conn {
	c := &s.slabs[place/slabSize].Load()[place%slabSize]
	if !c.live.Load() {
		return nil
	}
	return c
}

// fill puts a connection into a free place.
func (s *slots) fill(set func(*conn)) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var place int32
	if n := len(s.idle); n > 0 {
		place = s.idle[n-1]
		s.idle = s.idle[:n-1]
	} else {
		place = s.used
		if s.slabs[place/slabSize].Load() == nil {
			s.slabs[place/slabSize].Store(new(slab))
		}
		s.used++
	}
	c := &s.slabs[place/slabSize].Load()[place%slabSize]
	set(c)
	c.place = place
	c.live.Store(true)
	return c
}

// free closes a connection's socket and frees its place.
func (s *slots) free(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = unix.Close(c.fd)
	c.fd = -1
	c.live.Store(false)
	s.idle = append(s.idle, c.place)
}

// inUse is how many places may hold a connection.
func (s *slots) inUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.used)
}

// each calls f for every connection, while none comes or goes.
func (s *slots) each(f func(*conn)) {
	_ = s.eachIn(0, math.MaxInt32, f)
}

// eachIn calls f for the connections in some places, while none comes or goes, and tells whether there are more behind
// them.
func (s *slots) eachIn(from, to int, f func(*conn)) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for place := from; place < min(to, int(s.used)); place++ {
		if c := &s.slabs[place/slabSize].Load()[place%slabSize]; c.live.Load() {
			f(c)
		}
	}
	return to < int(s.used)
}

// between returns the connections in some places, and whether there are more behind them.
func (s *slots) between(from, to int, dst []*conn) (conns []*conn, more bool) {
	more = s.eachIn(from, to, func(c *conn) { dst = append(dst, c) })
	return dst, more
}
