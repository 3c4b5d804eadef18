// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// maxEventLine is the longest line of an event.
const maxEventLine = 3*engine.MaxKeyLen + 256

// Why a connection ends, as watch tells it.
const (
	endNormal uint8 = iota
	endError
	endIdle
	endShutdown
)

var endNames = [...]string{endNormal: "normal", endError: "error", endIdle: "idle_timeout", endShutdown: "shutdown"}

// mutate does a change, and tells those who watch.
func (c *conn) mutate(m *engine.Mutation) engine.Result {
	if c.s.watchers.mask.Load() == 0 {
		return c.s.engine.Apply(m)
	}
	return c.mutateWatched(m)
}

// mutateWatched looks at the item first: memcached tells of every look at an item, and a set begins with one.
func (c *conn) mutateWatched(m *engine.Mutation) engine.Result {
	before, found := c.s.engine.Peek(m.Key)
	c.looked(m.Key, &before, found)
	result := c.s.engine.Apply(m)
	switch {
	case m.Verb == engine.Delete:
		if result.Outcome == engine.Deleted && found && !m.Invalidate {
			c.logDeletion(m.Key, &before)
		}
	case m.Verb != engine.Touch && m.Verb != engine.Increment && m.Verb != engine.Decrement:
		c.logStore(m, result.Outcome)
	}
	return result
}

// looked tells those who watch of a look at an item.
func (c *conn) looked(key []byte, it *engine.Item, found bool) {
	if c.s.watchers.wanted(watchFetchers) {
		c.logGet(key, it, found)
	}
}

func (c *conn) logGet(key []byte, it *engine.Item, found bool) {
	w := &c.s.watchers
	status, class, size := "not_found", 0, 0
	if found {
		status, class, size = "found", c.s.classOf(key, it), it.Size
	}
	var buf [maxEventLine]byte
	line := appendKey(w.begin(buf[:0]), " type=item_get", key)
	line = append(append(line, " status="...), status...)
	w.publish(watchFetchers, c.appendPlace(line, class, size))
}

// logStore tells of a value that a client sent.
func (c *conn) logStore(m *engine.Mutation, outcome engine.Outcome) {
	w := &c.s.watchers
	if !w.wanted(watchMutations) {
		return
	}
	class := c.s.classes.of(engine.ItemSize(len(m.Key), m.ValueLen(), m.Flags))
	ttl := uint64(0)
	if m.Expires != 0 {
		ttl = uint64(uint32(m.Expires - c.s.engine.Now()))
	}
	var buf [maxEventLine]byte
	line := appendKey(w.begin(buf[:0]), " type=item_store", m.Key)
	line = append(append(line, " status="...), storeStatus(outcome)...)
	line = append(append(line, " cmd="...), storeName(m.Verb)...)
	line = strconv.AppendUint(append(line, " ttl="...), ttl, 10)
	w.publish(watchMutations, c.appendPlace(line, class, m.ValueLen()))
}

// logRefusal tells of a value that was not taken.
func (c *conn) logRefusal(key []byte, command protocol.Command, outcome engine.Outcome) {
	w := &c.s.watchers
	if !w.wanted(watchMutations) {
		return
	}
	var buf [maxEventLine]byte
	line := appendKey(w.begin(buf[:0]), " type=item_store", key)
	line = append(append(line, " status="...), storeStatus(outcome)...)
	line = append(append(line, " cmd="...), storeName(storeVerb(command))...)
	w.publish(watchMutations, c.appendPlace(append(line, " ttl=0"...), 0, 0))
}

// logDeletion tells of an item that a client removed.
func (c *conn) logDeletion(key []byte, it *engine.Item) {
	w := &c.s.watchers
	if !w.wanted(watchDeletions) {
		return
	}
	command := "delete"
	if c.ws.request.Command != protocol.Delete {
		command = "md"
	}
	var buf [maxEventLine]byte
	line := appendKey(w.begin(buf[:0]), " type=deleted", key)
	line = append(append(line, " cmd="...), command...)
	line = strconv.AppendInt(append(line, " clsid="...), int64(c.s.classOf(key, it)), 10)
	line = strconv.AppendInt(append(line, " size="...), int64(it.Size), 10)
	w.publish(watchDeletions, append(line, '\n'))
}

// logEviction tells of an item that went to make room. The engine calls it under a lock: it never waits.
func (s *Server) logEviction(key []byte, it *engine.Item) {
	w := &s.watchers
	if !w.wanted(watchEvictions) {
		return
	}
	now, ttl := s.engine.Now(), int64(-1)
	if it.Expires != 0 {
		ttl = it.Expires - now
	}
	var buf [maxEventLine]byte
	line := appendKey(w.begin(buf[:0]), " type=eviction", key)
	line = append(append(line, " fetch="...), yesNo(it.Fetched)...)
	line = strconv.AppendInt(append(line, " ttl="...), ttl, 10)
	line = strconv.AppendInt(append(line, " la="...), max(now-it.LastAccess, 0), 10)
	line = strconv.AppendInt(append(line, " clsid="...), int64(s.classOf(key, it)), 10)
	line = strconv.AppendInt(append(line, " size="...), int64(it.Size), 10)
	w.publish(watchEvictions, append(line, '\n'))
}

// logConn tells of a connection that came, or of one that ended and why.
func (s *Server) logConn(c *conn, begins bool) {
	w := &s.watchers
	if !w.wanted(watchConnevents) {
		return
	}
	ip, port, transport := "unix", uint16(0), "local"
	if at, err := netip.ParseAddrPort(strings.TrimPrefix(c.peer(), "tcp:")); err == nil {
		ip, port, transport = at.Addr().Unmap().String(), at.Port(), "tcp"
	}
	var buf [maxEventLine]byte
	line := w.begin(buf[:0])
	if begins {
		line = append(line, " type=conn_new rip="...)
	} else {
		line = append(line, " type=conn_close rip="...)
	}
	line = append(line, ip...)
	line = strconv.AppendUint(append(line, " rport="...), uint64(port), 10)
	line = append(append(line, " transport="...), transport...)
	if !begins {
		line = append(append(line, " reason="...), endNames[c.ended]...)
	}
	line = strconv.AppendUint(append(line, " cfd="...), c.id, 10)
	w.publish(watchConnevents, append(line, '\n'))
}

func appendKey(line []byte, kind string, key []byte) []byte {
	return appendEscaped(append(append(line, kind...), " key="...), key)
}

// appendPlace ends a line with class, connection and size.
func (c *conn) appendPlace(line []byte, class, size int) []byte {
	line = strconv.AppendInt(append(line, " clsid="...), int64(class), 10)
	line = strconv.AppendUint(append(line, " cfd="...), c.id, 10)
	line = strconv.AppendInt(append(line, " size="...), int64(size), 10)
	return append(line, '\n')
}

func (s *Server) classOf(key []byte, it *engine.Item) int {
	return s.classes.of(engine.ItemSize(len(key), it.Size, it.Flags))
}

func storeStatus(outcome engine.Outcome) string {
	switch outcome {
	case engine.Stored:
		return "stored"
	case engine.Exists:
		return "exists"
	case engine.NotFound:
		return "not_found"
	case engine.TooLarge:
		return "too_large"
	case engine.OutOfMemory:
		return "no_memory"
	default:
		return "not_stored"
	}
}

func storeName(verb engine.Verb) string {
	switch verb {
	case engine.Add:
		return "add"
	case engine.Replace:
		return "replace"
	case engine.Append:
		return "append"
	case engine.Prepend:
		return "prepend"
	case engine.CompareAndSwap:
		return "cas"
	default:
		return "set"
	}
}
