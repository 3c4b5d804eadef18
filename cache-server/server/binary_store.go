// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// binaryVerb is what a binary store does. A CAS makes set, add and replace into one command, as in memcached.
func binaryVerb(r *protocol.Request) engine.Verb {
	if r.CAS != 0 && r.Command != protocol.Append && r.Command != protocol.Prepend {
		return engine.CompareAndSwap
	}
	return storeVerb(r.Command)
}

// applyBinary stores the value of a binary request that has come in full.
func (c *conn) applyBinary(r *protocol.Request, v value) {
	if c.s.detail.enabled.Load() {
		c.s.detail.recordSet(r.Key)
	}
	t := &c.ws.tally
	t[cmdSet]++
	m := &c.ws.mutation
	*m = engine.Mutation{
		Verb: binaryVerb(r), Key: r.Key, Value: v.first, More: v.more, Flags: r.Flags, CAS: r.CAS,
		Expires: protocol.BinaryDeadline(r.Binary.Exptime, c.s.engine.Now()),
	}
	result := c.mutate(m)
	if m.Verb == engine.CompareAndSwap {
		c.countCAS(result.Outcome)
	}
	switch result.Outcome {
	case engine.Stored:
		c.binaryOK(r, result.CAS)
	case engine.NotStored:
		c.binaryError(r, notStored(r.Command))
	case engine.Exists:
		c.binaryError(r, protocol.StatusExists)
	case engine.NotFound:
		c.binaryError(r, protocol.StatusNotFound)
	case engine.TooLarge:
		t[storeTooLarge]++
		c.binaryError(r, protocol.StatusNotStored) // an append whose sum is too large
	default:
		t[storeNoMemory]++
		c.binaryError(r, protocol.StatusOutOfMemory)
	}
}

// notStored is how a store says that its condition does not hold.
func notStored(command protocol.Command) protocol.Status {
	switch command {
	case protocol.Add:
		return protocol.StatusExists
	case protocol.Replace:
		return protocol.StatusNotFound
	default:
		return protocol.StatusNotStored
	}
}

// countCAS counts how a comparison went.
func (c *conn) countCAS(outcome engine.Outcome) {
	switch outcome {
	case engine.Stored:
		c.ws.tally[casHits]++
	case engine.Exists:
		c.ws.tally[casBadval]++
	case engine.NotFound:
		c.ws.tally[casMisses]++
	default:
	}
}

// refuseBinary answers a binary store whose value is not taken.
func (c *conn) refuseBinary(r *protocol.Request, tooLarge bool) {
	if c.s.detail.enabled.Load() {
		c.s.detail.recordSet(r.Key)
	}
	if tooLarge {
		c.binaryError(r, protocol.StatusTooLarge)
		return
	}
	c.ws.out = protocol.AppendBinaryText(c.ws.out, r, protocol.StatusOutOfMemory, "Out of memory allocating item")
}
