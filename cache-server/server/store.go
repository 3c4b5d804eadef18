// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"io"
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
		c.ws.tally[storeTooLarge]++
		c.refuseValue(r, protocol.ReplyTooLarge)
		c.start += n
		c.skip = r.Size + 2
		return true, true
	}
	in := c.ws.in[c.start+n:]
	total := n + r.Size + 2
	switch {
	case len(in) >= r.Size+2:
		c.start += total
		c.apply(r, in[:r.Size+2])
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
	if r.Command == protocol.Set {
		m := &c.ws.mutation
		*m = engine.Mutation{Verb: engine.Delete, Key: r.Key}
		c.s.engine.Apply(m)
	}
	c.reply(r, reply)
}

// apply stores a value that has come in full, its line end included.
func (c *conn) apply(r *protocol.Request, block []byte) {
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
	outcome := c.s.engine.Apply(m).Outcome
	if r.Command == protocol.Cas {
		switch outcome {
		case engine.Stored:
			t[casHits]++
		case engine.Exists:
			t[casBadval]++
		case engine.NotFound:
			t[casMisses]++
		default:
		}
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
	if !c.flush() {
		return false
	}
	size := r.Size + 2
	block, held, ok := c.growBlock(nil, 0, max(min(size, firstStep), len(c.ws.in)-c.start))
	if !ok {
		return c.outOfMemory(&request, size)
	}
	defer func() { c.s.transfer.give(held) }()
	block = append(block, c.ws.in[c.start:]...)
	c.start = 0
	c.giveBack()
	if err := c.nc.SetReadDeadline(time.Now().Add(c.patience(size))); err != nil {
		return false
	}
	read, lastCall := 0, false
	for len(block) < size {
		if len(block) == cap(block) {
			if block, held, ok = c.growBlock(block, held, min(size, 2*cap(block))); !ok {
				c.clearReadDeadline()
				c.ws = takeWorkspace()
				return c.outOfMemory(&request, size-len(block))
			}
		}
		n, err := c.nc.Read(block[len(block):min(cap(block), size)])
		block = block[:len(block)+n]
		read += n
		if isTimeout(err) && c.s.draining.Load() && !lastCall {
			lastCall = true // the drain woke us: what has begun may end
			_ = c.nc.SetReadDeadline(time.Now().Add(c.patience(size)))
			continue
		}
		if err != nil && len(block) < size {
			if isTimeout(err) && !c.s.draining.Load() {
				c.closing(reasonSlowWriter)
			} else if !errors.Is(err, io.EOF) {
				c.s.log.Debug("Read failed", "error", err, "peer", c.peer())
			}
			return false
		}
	}
	c.clearReadDeadline()
	c.ws = takeWorkspace()
	c.ws.tally[bytesRead] += uint64(read)
	c.apply(&request, block)
	return true
}

// giveBack hands the workspace in while the connection waits in the middle of a value.
func (c *conn) giveBack() {
	c.s.counts.add(&c.ws.tally)
	c.s.transfer.give(c.restHeld)
	c.rest, c.restHeld = nil, 0
	c.dropWorkspace()
}

// growBlock moves block into room for size bytes, once the budget has them.
func (c *conn) growBlock(block []byte, held int64, size int) ([]byte, int64, bool) {
	if !c.s.transfer.wait(c.s.ctx, int64(size), c.s.cfg.Timeouts.Budget) {
		return block, held, false
	}
	grown := append(make([]byte, 0, size), block...)
	c.s.transfer.give(held)
	return grown, int64(size), true
}

// outOfMemory refuses a value for which the budget has no room, and has the rest of it thrown away.
func (c *conn) outOfMemory(r *protocol.Request, left int) bool {
	c.ws.tally[storeNoMemory]++
	c.refuseValue(r, protocol.ReplyOutOfMemory)
	c.skip = left
	return true
}
