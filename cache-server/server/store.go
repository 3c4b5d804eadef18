// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// value is a value that has come in full: in one piece, or in more if it is a large one.
type value struct {
	first []byte
	more  [][]byte
	ended bool // the right line end follows
}

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
		c.apply(r, value{first: in[:r.Size], ended: r.Binary.On || string(in[r.Size:r.BlockSize()]) == "\r\n"})
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

// apply stores a value.
func (c *conn) apply(r *protocol.Request, v value) {
	switch {
	case r.Binary.On:
		c.applyBinary(r, v)
		return
	case r.Command == protocol.MetaSet:
		c.metaStore(r, v)
		return
	}
	if c.s.detail.enabled.Load() {
		c.s.detail.recordSet(r.Key)
	}
	t := &c.ws.tally
	t[cmdSet]++
	if !v.ended {
		c.reply(r, protocol.ReplyBadChunk)
		return
	}
	m := &c.ws.mutation
	*m = engine.Mutation{
		Verb: storeVerb(r.Command), Key: r.Key, Value: v.first, More: v.more, Flags: r.Flags, CAS: r.CAS,
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
