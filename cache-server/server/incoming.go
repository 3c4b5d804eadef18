// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

const (
	// pieceSize is the size of the pieces in which a large value is received, as Go's allocator has it.
	pieceSize = 32 << 10
	// firstStep is how much room a large value gets before more of it has come.
	firstStep = 2 * pieceSize
	// loopRead is how much of a large value is read on the loop before others have their turn.
	loopRead = 128 << 10
)

// errNoRoom says that a connection cannot leave its loop.
var errNoRoom = errors.New("no memory to wait with")

// piecePool keeps pieces for the next large value: new ones would have to be cleared and collected.
var piecePool = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// incoming is a large value on its way in.
type incoming struct {
	size     int      // of the value
	total    int      // with its line end
	have     int      // how much of that has come
	pieces   [][]byte // full up to the last
	end      [2]byte  // the line end
	held     int64    // what the pieces may take of the budget
	read     int      // how much was read beside what came with its line
	deadline time.Time
	hastened bool // a drain has asked for it
}

// storeLarge reads a value that does not fit a workspace. It grows its room as the value comes, so that an
// announced size costs nothing, and all of it counts against the budget. c.start is behind the line.
func (c *conn) storeLarge(r *protocol.Request) bool {
	request := *r
	request.Key = append(make([]byte, 0, protocol.MaxKeyLen), r.Key...)
	request.Meta.Flags = bytes.Clone(r.Meta.Flags)
	if !c.flush() {
		return false
	}
	total := r.BlockSize()
	v := incoming{size: r.Size, total: total, deadline: time.Now().Add(c.patience(total))}
	defer c.release(&v)
	if !c.grow(&v, max(firstStep, len(c.ws.in)-c.start)) {
		return c.outOfMemory(&request, total)
	}
	for in := c.ws.in[c.start:]; len(in) > 0; {
		n := copy(v.room(), in)
		v.came(n)
		in = in[n:]
	}
	c.handIn()
	if c.l == nil && c.nc.SetReadDeadline(v.deadline) != nil {
		return false
	}
	for v.have < total {
		if v.full() && !c.grow(&v, 2*int(v.held)) {
			c.takeUp(&v)
			return c.outOfMemory(&request, total-v.have)
		}
		err := c.readMore(&v)
		if errors.Is(err, errNoRoom) {
			return c.outOfMemory(&request, total-v.have)
		}
		if err != nil {
			return false
		}
	}
	c.takeUp(&v)
	c.apply(&request, v.value())
	c.ws.mutation = engine.Mutation{} // which must not keep the pieces
	return true
}

// full tells whether there is no room for more of the value.
func (v *incoming) full() bool {
	return v.have < v.size && int64(v.have) == v.held
}

// room is where the next bytes belong. There must be some.
func (v *incoming) room() []byte {
	if v.have >= v.size {
		return v.end[v.have-v.size : v.total-v.size]
	}
	i, at := v.have/pieceSize, v.have%pieceSize
	if i == len(v.pieces) {
		v.pieces = append(v.pieces, piecePool.Get().(*[pieceSize]byte)[:0])
	}
	return v.pieces[i][at:min(pieceSize, at+v.size-v.have)]
}

// came notes that n bytes were put where room said.
func (v *incoming) came(n int) {
	if v.have < v.size {
		last := &v.pieces[len(v.pieces)-1]
		*last = (*last)[:len(*last)+n]
	}
	v.have += n
}

// value is what has come in full.
func (v *incoming) value() value {
	return value{
		first: v.pieces[0], more: v.pieces[1:], ended: v.total == v.size || string(v.end[:]) == "\r\n",
	}
}

// grow makes room for so many bytes of a value, or all of it, once the budget has them.
func (c *conn) grow(v *incoming, room int) bool {
	whole := (v.size + pieceSize - 1) / pieceSize * pieceSize
	room = min((room+pieceSize-1)/pieceSize*pieceSize, whole)
	if !c.awaitMemory(int64(room) - v.held) {
		return false
	}
	v.held = int64(room)
	return true
}

// release gives back what a value took on its way in.
func (c *conn) release(v *incoming) {
	for _, piece := range v.pieces {
		piecePool.Put((*[pieceSize]byte)(piece[:pieceSize]))
	}
	c.s.transfer.give(v.held)
}

// readMore reads more of a large value, waiting for it if need be.
func (c *conn) readMore(v *incoming) error {
	if !c.onLoop() {
		c.handIn()
	} else if v.read >= loopRead && !c.leave() {
		return errNoRoom
	}
	n, err := c.readBlock(v.room(), v.deadline)
	v.came(n)
	v.read += n
	switch {
	case err == nil || v.have == v.total:
		return nil
	case c.onLoop() && errors.Is(err, syscall.EAGAIN):
		if !c.leave() {
			return errNoRoom
		}
		return nil
	case c.l == nil && isTimeout(err) && c.s.draining.Load() && !v.hastened:
		v.hastened = true // the drain woke us: what has begun may end
		return c.nc.SetReadDeadline(time.Now().Add(c.patience(v.total)))
	case isTimeout(err):
		c.closing(reasonSlowWriter)
	case !errors.Is(err, io.EOF):
		c.s.log.Debug("Read failed", "error", err, "peer", c.peer())
	}
	return err
}

// handIn gives up the input that has been taken from the workspace, and the workspace itself where the
// connection may wait in the middle of a value.
func (c *conn) handIn() {
	if c.ws == nil {
		return
	}
	c.s.transfer.give(c.restHeld)
	c.rest, c.restHeld = nil, 0
	c.start, c.ws.in = 0, c.ws.input[:0]
	if !c.onLoop() {
		c.publish()
		c.dropWorkspace()
	}
}

// takeUp takes a workspace again where there is none. Whether there is more to read is not known.
func (c *conn) takeUp(v *incoming) {
	c.lastRead = c.roomRead
	if c.l == nil {
		c.clearReadDeadline()
	}
	if c.ws == nil {
		c.ws = takeWorkspace()
	}
	c.ws.tally[bytesRead] += uint64(v.read)
}

// outOfMemory refuses a value for which the budget has no room, and has the rest of it thrown away.
func (c *conn) outOfMemory(r *protocol.Request, left int) bool {
	c.ws.tally[storeNoMemory]++
	c.logRefusal(r.Key, r.Command, engine.OutOfMemory)
	c.refuseValue(r, protocol.ReplyOutOfMemory)
	c.skip = left
	return true
}
