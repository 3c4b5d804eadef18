// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"math"
	"net"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

const (
	// maxGetLine is how long a line of get or gets may be. Their number of keys has no limit of its own.
	maxGetLine = 1 << 20
	// lastCall is how long a draining connection waits for bytes that may already be on their way up.
	lastCall = 20 * time.Millisecond
	// turnWork is how much a connection may do before others have their turn: commands and keys, and flushes
	// as flushWork.
	turnWork  = 256
	flushWork = 32
)

// firstSuffix is a guess at how long the end of a VALUE line is.
const firstSuffix = len(" 0 100\r\n")

// conn is one client's connection. It is the loop's, or that of the goroutine that serves it.
type conn struct {
	s  *Server
	l  *loop    // nil where nc is served by a goroutine of its own
	nc net.Conn // nil where the loop has a descriptor

	fd    int
	place int32       // where the loop has it
	left  int32       // how much it may still do in this turn
	live  atomic.Bool // there is a connection in this place
	local bool        // it came through a UNIX socket
	away  atomic.Pointer[away]
	id    uint64
	// remote is the peer's address, and since the Unix second in which it was accepted.
	remote address
	since  int64

	ws       *workspace // nil while waiting
	start    int        // where the unread input begins in ws.in
	scanned  int        // how much of the unread input is known to hold no line end
	skip     int        // how many bytes of a refused value are still to be thrown away
	rest     []byte     // unread input, kept while waiting
	restHeld int64      // what rest takes of the budget
	outHeld  int64      // what a large ws.out takes of the budget
	large    int        // size of the last value read, if that was large
	suffix   int        // length of the last value header after its key
	// metaHeader is the length of the last header of a meta command's value.
	metaHeader int
	begun      bool      // something was executed
	broken     bool      // a reply was cut: nothing more may be sent
	queued     bool      // it is to have another turn
	yielded    bool      // it has kept its workspace for that, which the budget knows of
	ending     bool      // the loop is to close it
	binary     bool      // it speaks the binary protocol
	auth       saslState // whether it is believed, where that is asked for
	hurried    bool      // there is a deadline for the rest of a long request
	inHurry    bool      // the loop knows of that
	hurryBy    time.Time
	lastRead   int // size of the last read, -1 if there was nothing to read
	roomRead   int // size that it could have had

	lastCommand atomic.Int64 // engine seconds, for stats conns and idleness
	ended       uint8        // why it ends, for watch
}

// step lets a connection do on its loop what it can. False means that it has ended. It may have left the loop
// in the meantime; then the caller's goroutine is its own.
func (c *conn) step() (alive bool) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked()
			alive = false
		}
	}()
	if c.ws == nil {
		n, errno := c.receiveOnLoop()
		if errno == syscall.EAGAIN {
			c.ws = nil
			c.lastRead = -1
			return true
		}
		if n == 0 {
			return false
		}
	} else if c.yielded {
		c.yielded = false
		c.s.transfer.give(workspaceSize)
	}
	for {
		c.left = c.share()
		proceed := c.execute()
		if c.ws == nil || !c.flush() || !proceed {
			return false
		}
		if !c.yielded || c.onLoop() {
			return c.yielded || c.keep()
		}
		// It was to have another turn, and has left the loop to wait for its client: it goes on here.
		c.yielded = false
		c.s.transfer.give(workspaceSize)
	}
}

// receiveOnLoop reads once into the loop's workspace.
func (c *conn) receiveOnLoop() (int, syscall.Errno) {
	if c.l.ws == nil {
		c.l.ws = takeWorkspace()
	}
	c.ws = c.l.ws
	c.takeInput()
	in := c.ws.in
	n, errno := receiveNow(c.fd, in[len(in):cap(in)])
	if n > 0 {
		c.received(n)
	}
	return n, errno
}

// received takes note of n more bytes of input.
func (c *conn) received(n int) {
	in := c.ws.in
	c.lastRead, c.roomRead = n, cap(in)-len(in)
	c.ws.in = in[:len(in)+n]
	c.ws.tally[bytesRead] += uint64(n)
}

// takeInput puts what was kept of the input into the workspace.
func (c *conn) takeInput() {
	ws := c.ws
	ws.out = ws.output[:0]
	if len(c.rest) > bufferSize/2 {
		ws.in = c.rest // it has room: see keep
		return
	}
	ws.in = append(ws.input[:0], c.rest...)
}

// pause is called when a connection has done its share. True means that it is to stop and will go on in its
// next turn.
func (c *conn) pause() bool {
	if !c.onLoop() {
		c.breathe()
		return false
	}
	if !c.s.transfer.try(workspaceSize) {
		c.left = c.share() // there is no memory to wait with
		return false
	}
	c.yielded = true
	if c.ws == c.l.ws {
		c.l.ws = nil
	}
	return true
}

// share is how much a connection may do in one turn.
func (c *conn) share() int32 {
	return int32(min(c.s.cfg.RequestsPerEvent, math.MaxInt32))
}

func (c *conn) panicked() {
	// The stack holds no keys or values; the panic's text might, so it is left out.
	c.s.closes[reasonPanic].Add(1)
	c.s.log.Error("Connection closed after a panic", "peer", c.peer(), "stack", string(debug.Stack()))
}

// publish adds what was counted to the server's counts.
func (c *conn) publish() {
	if c.l != nil {
		c.l.counts.add(&c.ws.tally)
		return
	}
	c.s.counts.add(&c.ws.tally)
}

// giveUp gives back all that a connection that ends holds.
func (c *conn) giveUp() {
	if c.yielded {
		c.s.transfer.give(workspaceSize)
		c.yielded = false
	}
	if c.ws != nil {
		c.publish()
		c.dropWorkspace()
	}
	c.s.transfer.give(c.restHeld + c.outHeld)
	c.restHeld, c.outHeld, c.rest = 0, 0, nil
}

// dropWorkspace gives the workspace back to the loop or to the pool.
func (c *conn) dropWorkspace() {
	ws := c.ws
	c.ws = nil
	if ws == nil {
		return
	}
	ws.held.Release() // if the connection has ended before it was sent
	switch {
	case !c.onLoop():
		giveWorkspace(ws)
	case c.l.ws == nil:
		c.l.ws = ws
	case c.l.ws != ws:
		giveWorkspace(ws)
	}
}

// closing notes why the server closes a connection.
func (c *conn) closing(reason string) {
	c.s.closes[reason].Add(1)
	if c.ended = endError; reason == reasonIdle {
		c.ended = endIdle
	}
	c.s.log.Debug("Connection closed", "reason", reason, "peer", c.peer())
}

func (c *conn) peer() string {
	if c.l != nil {
		return peerName(c.fd)
	}
	if a := c.nc.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
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
		if c.rest != nil {
			c.s.transfer.give(c.restHeld)
			c.rest, c.restHeld = nil, 0
		}
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
	if on {
		c.hurryBy = time.Now().Add(c.patience(size))
	}
	if c.l == nil {
		c.hurrySocket()
	}
}

// moveRest replaces c.rest by one with the given room that holds pending.
func (c *conn) moveRest(room int, pending []byte) bool {
	if len(pending) > maxGetLine || !c.s.transfer.try(int64(room)) {
		c.closing(reasonNoMemory)
		if !c.binary {
			_, _ = c.writeNow([]byte(protocol.ReplyReadMemory))
		}
		return false
	}
	rest := append(make([]byte, 0, room), pending...)
	c.s.transfer.give(c.restHeld)
	c.rest, c.restHeld = rest, int64(room)
	return true
}

// patience is how long the server waits until n bytes have moved.
func (c *conn) patience(n int) time.Duration {
	return c.s.cfg.Timeouts.Stall + time.Duration(n)*time.Second/slowestRate
}
