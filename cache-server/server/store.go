// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// firstStep is how much room a large value gets before more of it has come.
const firstStep = 64 << 10

// store executes a request whose data block follows its line of n bytes. complete is false when the block
// has not come yet; proceed is false when the connection is to be closed.
func (c *conn) store(r *protocol.Request, n int) (complete, proceed bool) {
	if engine.ItemSize(len(r.Key), r.Size, r.Flags) > c.s.cfg.MaxItemSize {
		if !r.Binary.On { // memcached does not count those
			c.ws.tally[storeTooLarge]++
		}
		c.logRefusal(r.Key, r.Command, engine.TooLarge)
		c.refuseValue(r, protocol.ReplyTooLarge)
		c.start += n
		c.skip = r.BlockSize()
		return true, true
	}
	in := c.ws.in[c.start+n:]
	total := n + r.BlockSize()
	switch {
	case len(in) >= r.BlockSize():
		c.start += total
		c.apply(r, in[:r.BlockSize()])
		return true, true
	case total <= bufferSize:
		return false, true
	default:
		c.start += n
		return true, c.storeLarge(r)
	}
}

// refuseValue answers a store whose value is not taken. What was there before a set must not survive it.
func (c *conn) refuseValue(r *protocol.Request, reply string) {
	if r.Command == protocol.Set || r.Command == protocol.MetaSet {
		m := &c.ws.mutation
		*m = engine.Mutation{Verb: engine.Delete, Key: r.Key}
		c.mutate(m)
	}
	if r.Binary.On {
		c.refuseBinary(r, reply == protocol.ReplyTooLarge)
		return
	}
	c.reply(r, reply)
}

// apply stores a value that has come in full, its line end included.
func (c *conn) apply(r *protocol.Request, block []byte) {
	if r.Binary.On {
		c.applyBinary(r, block)
		return
	}
	if r.Command == protocol.MetaSet {
		c.metaStore(r, block)
		return
	}
	if c.s.detail.enabled.Load() {
		c.s.detail.recordSet(r.Key)
	}
	t := &c.ws.tally
	t[cmdSet]++
	value := block[:r.Size]
	if block[r.Size] != '\r' || block[r.Size+1] != '\n' {
		c.reply(r, protocol.ReplyBadChunk)
		return
	}
	m := &c.ws.mutation
	*m = engine.Mutation{
		Verb: storeVerb(r.Command), Key: r.Key, Value: value, Flags: r.Flags, CAS: r.CAS,
		Expires: protocol.Deadline(r.Exptime, c.s.engine.Now()),
	}
	outcome := c.mutate(m).Outcome
	if r.Command == protocol.Cas {
		c.countCAS(outcome)
	}
	switch outcome {
	case engine.Stored:
		c.reply(r, protocol.ReplyStored)
	case engine.NotStored:
		c.reply(r, protocol.ReplyNotStored)
	case engine.Exists:
		c.reply(r, protocol.ReplyExists)
	case engine.NotFound:
		c.reply(r, protocol.ReplyNotFound)
	case engine.TooLarge:
		t[storeTooLarge]++
		if r.Command == protocol.Append || r.Command == protocol.Prepend {
			c.reply(r, protocol.ReplyNotStored) // the sum of both is too large, as memcached has it
		} else {
			c.reply(r, protocol.ReplyTooLarge)
		}
	default:
		t[storeNoMemory]++
		c.reply(r, protocol.ReplyOutOfMemory)
	}
}

func storeVerb(command protocol.Command) engine.Verb {
	switch command {
	case protocol.Add:
		return engine.Add
	case protocol.Replace:
		return engine.Replace
	case protocol.Append:
		return engine.Append
	case protocol.Prepend:
		return engine.Prepend
	case protocol.Cas:
		return engine.CompareAndSwap
	default:
		return engine.Set
	}
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
	size := r.BlockSize()
	b := block{deadline: time.Now().Add(c.patience(size))}
	defer func() { c.s.transfer.give(b.held) }()
	if !c.grow(&b, max(min(size, firstStep), len(c.ws.in)-c.start)) {
		return c.outOfMemory(&request, size)
	}
	b.bytes = append(b.bytes, c.ws.in[c.start:]...)
	c.handIn()
	if c.l == nil && c.nc.SetReadDeadline(b.deadline) != nil {
		return false
	}
	for len(b.bytes) < size {
		if len(b.bytes) == cap(b.bytes) && !c.grow(&b, min(size, 2*cap(b.bytes))) {
			c.takeUp(&b)
			return c.outOfMemory(&request, size-len(b.bytes))
		}
		err := c.readMore(&b, size)
		if errors.Is(err, errNoRoom) {
			return c.outOfMemory(&request, size-len(b.bytes))
		}
		if err != nil {
			return false
		}
	}
	c.takeUp(&b)
	c.apply(&request, b.bytes)
	return true
}

// block is a large value on its way in.
type block struct {
	bytes    []byte
	held     int64 // what it takes of the budget
	read     int   // how much of it was read beside what came with its line
	deadline time.Time
	hastened bool // a drain has asked for it
}

// loopRead is how much of a large value is read on the loop before others have their turn.
const loopRead = 128 << 10

// errNoRoom says that a connection cannot leave its loop.
var errNoRoom = errors.New("no memory to wait with")

// readMore reads more of a large value, waiting for it if need be.
func (c *conn) readMore(b *block, size int) error {
	if !c.onLoop() {
		c.handIn()
	} else if b.read >= loopRead && !c.leave() {
		return errNoRoom
	}
	have := len(b.bytes)
	n, err := c.readBlock(b.bytes[have:min(cap(b.bytes), size)], b.deadline)
	b.bytes = b.bytes[:have+n]
	b.read += n
	switch {
	case err == nil || have+n == size:
		return nil
	case c.onLoop() && errors.Is(err, syscall.EAGAIN):
		if !c.leave() {
			return errNoRoom
		}
		return nil
	case c.l == nil && isTimeout(err) && c.s.draining.Load() && !b.hastened:
		b.hastened = true // the drain woke us: what has begun may end
		return c.nc.SetReadDeadline(time.Now().Add(c.patience(size)))
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
func (c *conn) takeUp(b *block) {
	c.lastRead = c.roomRead
	if c.l == nil {
		c.clearReadDeadline()
	}
	if c.ws == nil {
		c.ws = takeWorkspace()
	}
	c.ws.tally[bytesRead] += uint64(b.read)
}

// grow moves a block into room for size bytes, once the budget has them.
func (c *conn) grow(b *block, size int) bool {
	if !c.awaitMemory(int64(size)) {
		return false
	}
	b.bytes = append(make([]byte, 0, size), b.bytes...)
	c.s.transfer.give(b.held)
	b.held = int64(size)
	return true
}

// outOfMemory refuses a value for which the budget has no room, and has the rest of it thrown away.
func (c *conn) outOfMemory(r *protocol.Request, left int) bool {
	c.ws.tally[storeNoMemory]++
	c.logRefusal(r.Key, r.Command, engine.OutOfMemory)
	c.refuseValue(r, protocol.ReplyOutOfMemory)
	c.skip = left
	return true
}
