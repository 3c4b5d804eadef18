// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// maxGetLine is how long a line of get or gets may be. Their number of keys has no limit of its own.
const maxGetLine = 1 << 20

// lastCall is how long a draining connection waits for bytes that may already be on their way up.
const lastCall = 20 * time.Millisecond

// conn is one client's connection.
type conn struct {
	s   *Server
	nc  net.Conn
	raw syscall.RawConn // nil where nc has no file descriptor
	id  uint64

	ws       *workspace // nil while waiting
	start    int        // where the unread input begins in ws.in
	scanned  int        // how much of the unread input is known to hold no line end
	skip     int        // how many bytes of a refused value are still to be thrown away
	rest     []byte     // unread input, kept while waiting
	restHeld int64      // what rest takes of the budget
	outHeld  int64      // what a large ws.out takes of the budget
	large    int        // size of the last value read, if that was large
	suffix   int        // length of the last value header after its key
	begun    bool       // something was executed
	hurried  bool       // there is a deadline for the rest of a long request
	lastRead int        // size of the last read
	roomRead int        // size that it could have had

	lastCommand atomic.Int64 // Unix seconds, for stats conns
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{s: s, nc: nc, raw: rawConn(nc), id: s.nextID.Add(1), suffix: len(" 0 100\r\n")}
	c.lastCommand.Store(time.Now().Unix())
	return c
}

// serve runs the connection until it ends.
func (c *conn) serve() {
	defer c.s.forget(c)
	defer c.release()
	defer func() {
		if p := recover(); p != nil {
			// The stack holds no keys or values; the panic's text might, so it is left out.
			c.s.closes[reasonPanic].Add(1)
			c.s.log.Error("Connection closed after a panic", "peer", c.peer(), "stack", string(debug.Stack()))
		}
	}()
	for c.awaitInput() {
		proceed := c.execute()
		if c.ws == nil || !c.flush() || !proceed {
			return
		}
		c.s.counts.add(&c.ws.tally)
		if !c.keep() {
			return
		}
	}
}

// release closes the socket and gives everything back.
func (c *conn) release() {
	_ = c.nc.Close()
	if c.ws != nil {
		c.s.counts.add(&c.ws.tally)
		giveWorkspace(c.ws)
		c.ws = nil
	}
	c.s.transfer.give(c.restHeld + c.outHeld)
	c.restHeld, c.outHeld, c.rest = 0, 0, nil
}

// closing notes why the server closes a connection.
func (c *conn) closing(reason string) {
	c.s.closes[reason].Add(1)
	c.s.log.Debug("Connection closed", "reason", reason, "peer", c.peer())
}

func (c *conn) peer() string {
	if a := c.nc.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

// awaitInput waits until there is more input. False means that there will be none.
func (c *conn) awaitInput() bool {
	if c.s.draining.Load() && !c.lastCall() {
		return false
	}
	n, err := c.receive()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.dropWorkspace()
		if !c.s.draining.Load() {
			c.closing(reasonSlowWriter)
			return false
		}
		return c.receiveLast()
	}
	return n > 0 && err == nil
}

// lastCall decides whether a draining connection may read once more: it may while a request is incomplete,
// and while the kernel holds more than the last read could take.
func (c *conn) lastCall() bool {
	if len(c.rest) == 0 && c.skip == 0 && c.begun && c.lastRead < c.roomRead {
		return false
	}
	return true
}

// receiveLast reads what has arrived before the drain began, and the rest of a request that has been read in
// part, as long as Drain waits.
func (c *conn) receiveLast() bool {
	deadline := time.Now().Add(lastCall)
	if len(c.rest) > 0 || c.skip > 0 {
		deadline = time.Time{} // Drain closes the connection when its time is up
	}
	_ = c.nc.SetReadDeadline(deadline)
	n, err := c.receive()
	c.wake()
	return n > 0 && err == nil
}

func (c *conn) dropWorkspace() {
	if c.ws != nil {
		giveWorkspace(c.ws)
		c.ws = nil
	}
}

// keep puts the unread input aside, counts it against the budget, and gives the workspace back.
func (c *conn) keep() bool {
	pending := c.ws.in[c.start:]
	c.start = 0
	want := len(pending)
	switch {
	case want > bufferSize/2 && want < bufferSize:
		want = bufferSize // it is read into directly, so it needs room for more
	case want >= bufferSize:
		want *= 2
	}
	switch {
	case want == 0:
		c.s.transfer.give(c.restHeld)
		c.rest, c.restHeld = nil, 0
	case want <= cap(c.rest) && cap(c.rest) <= 2*want:
		c.rest = append(c.rest[:0], pending...)
	case !c.moveRest(want, pending):
		return false
	}
	if large := want > bufferSize; large || c.hurried {
		c.hurry(large, want)
	}
	c.dropWorkspace()
	return true
}

// hurry sets a deadline for a client that holds much memory with a request that does not end, or lifts it.
func (c *conn) hurry(on bool, size int) {
	c.hurried = on
	if !on {
		c.clearReadDeadline()
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(c.patience(size)))
	if c.s.draining.Load() {
		c.wake()
	}
}

// moveRest replaces c.rest by one with the given room that holds pending.
func (c *conn) moveRest(room int, pending []byte) bool {
	if len(pending) > maxGetLine || !c.s.transfer.try(int64(room)) {
		c.closing(reasonNoMemory)
		_, _ = c.writeNow([]byte(protocol.ReplyReadMemory))
		return false
	}
	rest := append(make([]byte, 0, room), pending...)
	c.s.transfer.give(c.restHeld)
	c.rest, c.restHeld = rest, int64(room)
	return true
}
