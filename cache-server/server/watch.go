// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// What clients may watch.
const (
	watchFetchers uint32 = 1 << iota
	watchMutations
	watchEvictions
	watchConnevents
	watchDeletions
	watchNothing // what memcached knows and never happens here
)

// watchNames are memcached's words for them.
var watchNames = map[string]uint32{
	"fetchers": watchFetchers, "mutations": watchMutations, "evictions": watchEvictions,
	"connevents": watchConnevents, "deletions": watchDeletions, "rawcmds": watchNothing, "sysevents": watchNothing,
	"proxyreqs": watchNothing, "proxyevents": watchNothing, "proxyuser": watchNothing,
}

const (
	// DefaultWatcherBuffer is how much waits for one client of watch.
	DefaultWatcherBuffer = 256 << 10
	// smallestWatcherBuffer holds a few of the longest lines.
	smallestWatcherBuffer = 8 << 10
	maxWatchers           = 20
	// watcherPause is how often a client of watch is looked at while nothing happens.
	watcherPause = 250 * time.Millisecond
)

// watchers are the clients of watch. While there are none an event costs one look at mask.
type watchers struct {
	mask atomic.Uint32 // what at least one of them wants
	gid  atomic.Uint64 // number of the last event

	skipped, sent, written atomic.Uint64

	mu   sync.RWMutex
	list []*watcher
}

// watcher is what waits for one client. Who reports an event only appends to it, and never waits.
type watcher struct {
	want uint32
	wake chan struct{}

	mu      sync.Mutex
	buf     []byte // never grows
	skipped uint64 // lines that found no room since the last that did
}

// wanted tells whether anybody watches such events.
func (w *watchers) wanted(kind uint32) bool {
	return w.mask.Load()&kind != 0
}

func (s *Server) addWatcher(want uint32, most int) *watcher {
	w := &s.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.list) >= maxWatchers {
		return nil
	}
	one := &watcher{want: want, wake: make(chan struct{}, 1), buf: make([]byte, 0, most)}
	w.list = append(w.list, one)
	s.setWatched(w.mask.Load() | want)
	return one
}

// setWatched lets the engine tell of evictions only while somebody wants to know.
func (s *Server) setWatched(mask uint32) {
	s.watchers.mask.Store(mask)
	if mask&watchEvictions != 0 {
		s.engine.OnEvict(s.logEviction)
	} else {
		s.engine.OnEvict(nil)
	}
}

func (s *Server) removeWatcher(one *watcher) {
	w := &s.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	mask, left := uint32(0), w.list[:0]
	for _, other := range w.list {
		if other != one {
			mask |= other.want
			left = append(left, other)
		}
	}
	clear(w.list[len(left):])
	w.list = left
	s.setWatched(mask)
}

func (w *watchers) count() int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return len(w.list)
}

// begin starts the line of an event.
func (w *watchers) begin(dst []byte) []byte {
	now := time.Now()
	dst = strconv.AppendInt(append(dst, "ts="...), now.Unix(), 10)
	dst = strconv.AppendInt(append(dst, '.'), int64(now.Nanosecond()/1000), 10) // not padded, as in memcached
	return strconv.AppendUint(append(dst, " gid="...), w.gid.Add(1), 10)
}

// publish hands a line to everybody who wants it.
func (w *watchers) publish(kind uint32, line []byte) {
	w.written.Add(1)
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, one := range w.list {
		if one.want&kind == 0 {
			continue
		}
		if one.take(line) {
			w.sent.Add(1)
		} else {
			w.skipped.Add(1)
		}
	}
}

// take appends a line if there is room for it, after a word on those for which there was none.
func (w *watcher) take(line []byte) bool {
	const note = 64
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf)+len(line)+note > cap(w.buf) {
		w.skipped++
		return false
	}
	if w.skipped > 0 {
		w.buf = strconv.AppendUint(append(w.buf, "skipped="...), w.skipped, 10)
		w.buf = append(w.buf, '\n')
		w.skipped = 0
	}
	w.buf = append(w.buf, line...)
	w.poke()
	return true
}

// poke tells that lines wait.
func (w *watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// lines moves what waits to dst, at most so many bytes.
func (w *watcher) lines(dst []byte, most int) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.buf), most)
	dst = append(dst, w.buf[:n]...)
	w.buf = w.buf[:copy(w.buf, w.buf[n:])]
	if len(w.buf) > 0 {
		w.poke()
	}
	return dst
}

// watch makes the connection a stream of events until the client closes it. False means just that; true means
// that it was refused and goes on as before.
func (c *conn) watch(r *protocol.Request) bool {
	want, known := readWatch(r.Rest)
	switch {
	case !c.s.allowed(AdminWatch):
		c.ws.out = append(c.ws.out, protocol.ReplyNoWatch...)
		return true
	case len(c.ws.out) > 0:
		c.ws.out = protocol.AppendPipelined(c.ws.out, "watch")
		return true
	case !known:
		c.ws.out = append(c.ws.out, protocol.ReplyError...)
		return true
	}
	most := max(c.s.cfg.WatcherBuffer, smallestWatcherBuffer)
	if !c.s.transfer.try(int64(most)) {
		c.ws.out = append(c.ws.out, protocol.ReplyNoWatcher...)
		return true
	}
	defer c.s.transfer.give(int64(most))
	if !c.leave() {
		c.ws.out = append(c.ws.out, protocol.ReplyNoWatcher...)
		return true
	}
	one := c.s.addWatcher(want, most)
	if one == nil {
		c.ws.out = append(c.ws.out, protocol.ReplyManyWatchers...)
		return true
	}
	defer c.s.removeWatcher(one)
	c.ws.out = append(c.ws.out, protocol.ReplyOK...)
	for c.flush() && c.awaitEvents(one) {
		c.ws.out = one.lines(c.ws.out, flushAt)
	}
	return false
}

// awaitEvents waits until there are lines, or the connection is to end.
func (c *conn) awaitEvents(one *watcher) bool {
	if a := c.away.Load(); a != nil {
		a.state.Store(stateWatch)
	}
	timer := time.NewTimer(watcherPause)
	defer timer.Stop()
	for {
		if c.s.draining.Load() || c.hungUp() {
			return false
		}
		select {
		case <-one.wake:
			return true
		case <-c.s.ctx.Done():
			return false
		case <-timer.C:
			timer.Reset(watcherPause)
		}
	}
}

// readWatch reads the words behind watch. Without any it is the fetchers.
func readWatch(words []byte) (want uint32, known bool) {
	for word, rest := protocol.NextToken(words); len(word) > 0; word, rest = protocol.NextToken(rest) {
		kind, ok := watchNames[string(word)]
		if !ok {
			return 0, false
		}
		want |= kind
	}
	if want == 0 {
		want = watchFetchers
	}
	return want, true
}
