// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// Binding says which protocol the clients of a server speak.
type Binding uint8

// The bindings, as memcached's -B names them.
const (
	// BindAuto lets the first byte of each connection decide.
	BindAuto Binding = iota
	// BindASCII speaks the text protocol alone.
	BindASCII
	// BindBinary speaks the binary protocol alone.
	BindBinary
)

// String is how stats settings name the binding.
func (b Binding) String() string {
	switch b {
	case BindASCII:
		return "ascii"
	case BindBinary:
		return "binary"
	default:
		return "auto-negotiate"
	}
}

// isBinary tells whether the connection speaks the binary protocol. The first byte decides for good.
func (c *conn) isBinary(first byte) bool {
	if !c.begun && !c.binary {
		c.binary = c.s.cfg.BindingProtocol == BindBinary ||
			c.s.cfg.BindingProtocol == BindAuto && first == protocol.BinaryMagic
	}
	return c.binary
}

// binaryRequest executes the request at the start of in. complete is false when it has not come yet;
// proceed is false when the connection is to be closed once the replies are sent.
func (c *conn) binaryRequest(in []byte) (complete, proceed bool) {
	r := &c.ws.request
	n, ok := protocol.ParseBinary(in, r)
	if !ok {
		c.closing(reasonForeign)
		return true, false
	}
	if n == 0 {
		return false, true
	}
	if b := &r.Binary; b.Problem != protocol.StatusOK {
		c.binaryError(r, b.Problem)
		return true, false
	}
	if c.s.cfg.Authenticator != nil && !c.mayExecute(r.Command) {
		c.binaryError(r, protocol.StatusAuthError)
		return true, false
	}
	c.begun = true
	if c.s.cfg.DisableCAS {
		r.CAS = 0
	}
	if r.Command.IsStore() {
		return c.store(r, n)
	}
	if r.Command == protocol.SASLAuth || r.Command == protocol.SASLStep {
		return c.sasl(r, n, in)
	}
	c.start += n
	c.skip = r.Size
	return true, c.binaryCommand(r)
}

// binaryError appends a refusal. Quiet forms are not quiet about those.
func (c *conn) binaryError(r *protocol.Request, status protocol.Status) {
	c.ws.out = protocol.AppendBinaryError(c.ws.out, r, status)
}

// binaryOK answers what went well, unless the client wants to hear of failures alone.
func (c *conn) binaryOK(r *protocol.Request, cas uint64) {
	if !r.NoReply {
		c.ws.out = protocol.AppendBinaryOK(c.ws.out, r, c.shownCAS(cas))
	}
}

// shownCAS is what replies tell of a CAS.
func (c *conn) shownCAS(cas uint64) uint64 {
	if c.s.cfg.DisableCAS {
		return 0
	}
	return cas
}

// binaryCommand executes a request that takes nothing behind its key. False means that the connection is to
// be closed.
func (c *conn) binaryCommand(r *protocol.Request) bool {
	switch r.Command {
	case protocol.Get, protocol.Gat:
		return c.binaryGet(r)
	case protocol.Touch:
		c.binaryTouch(r)
	case protocol.Incr, protocol.Decr:
		c.binaryArithmetic(r)
	case protocol.Delete:
		c.binaryDelete(r)
	case protocol.Noop:
		c.binaryOK(r, 0)
	case protocol.Version:
		c.ws.out = protocol.AppendBinaryText(c.ws.out, r, protocol.StatusOK, c.s.cfg.Version)
	case protocol.FlushAll:
		c.binaryFlush(r)
	case protocol.Stats:
		c.binaryStats(r)
	case protocol.Quit:
		c.binaryOK(r, 0)
		return false
	case protocol.SASLList:
		c.saslList(r)
	case protocol.ConfigGet, protocol.ConfigSet, protocol.ConfigDelete:
		c.binaryConfig(r)
	default:
		c.binaryError(r, protocol.StatusUnknownCommand)
	}
	return true
}

// binaryGet answers get and gat in all their forms. False means that the connection is lost.
func (c *conn) binaryGet(r *protocol.Request) bool {
	touches := r.Command == protocol.Gat
	deadline := int64(0)
	if touches {
		deadline = protocol.BinaryDeadline(r.Binary.Exptime, c.s.engine.Now())
	}
	if !touches && c.isDiscovery(r.Key) {
		c.appendBinaryDiscovery(r)
		c.countGet(r.Key, true, false)
		return true
	}
	hit, ok := c.appendBinaryItem(r, touches, deadline)
	if !ok {
		c.binaryError(r, protocol.StatusOutOfMemory)
		return true
	}
	c.countGet(r.Key, hit, touches)
	if !hit && !r.NoReply {
		c.ws.out = protocol.AppendBinaryMiss(c.ws.out, r)
	}
	return true
}

// appendBinaryItem appends an item with its header to the replies. ok is false when there is no memory for it.
// How much room the header takes is known before the value is read.
func (c *conn) appendBinaryItem(r *protocol.Request, touches bool, deadline int64) (hit, ok bool) {
	if item, held := c.hold(r.Key, touches, deadline); held {
		base := len(c.ws.out)
		c.ws.out = slices.Grow(c.ws.out, protocol.BinaryItemLen(r))[:base+protocol.BinaryItemLen(r)]
		protocol.PutBinaryItem(c.ws.out[base:], r, item.Flags, item.Size, c.shownCAS(item.CAS))
		c.placeHeld()
		return true, true
	}
	out, base, item, hit, ok := c.readBehind(r.Key, protocol.BinaryItemLen(r), touches, deadline)
	if !hit || !ok {
		return hit, ok
	}
	protocol.PutBinaryItem(out[base:], r, item.Flags, item.Size, c.shownCAS(item.CAS))
	c.ws.out = out
	return true, true
}

func (c *conn) binaryTouch(r *protocol.Request) {
	m := &c.ws.mutation
	*m = engine.Mutation{
		Verb: engine.Touch, Key: r.Key, Expires: protocol.BinaryDeadline(r.Binary.Exptime, c.s.engine.Now()),
	}
	result := c.mutate(m)
	hit := result.Outcome == engine.Touched
	c.countGet(r.Key, hit, true)
	if !hit {
		c.ws.out = protocol.AppendBinaryMiss(c.ws.out, r)
		return
	}
	c.ws.out = protocol.AppendBinaryTouched(c.ws.out, r, result.Item.Flags, c.shownCAS(result.CAS))
}

func (c *conn) binaryArithmetic(r *protocol.Request) {
	m := &c.ws.mutation
	*m = engine.Mutation{Verb: engine.Increment, Key: r.Key, Delta: r.Number, CAS: r.CAS}
	hits, misses := incrHits, incrMisses
	if r.Command == protocol.Decr {
		m.Verb, hits, misses = engine.Decrement, decrHits, decrMisses
	}
	if exptime := r.Binary.Exptime; exptime != protocol.NoCreate {
		m.Vivify, m.Initial = true, r.Binary.Initial
		m.VivifyExpires = protocol.BinaryDeadline(exptime, c.s.engine.Now())
	}
	result := c.mutate(m)
	switch result.Outcome {
	case engine.Stored:
		if !result.Created { // what was created is neither a hit nor a miss, as in memcached
			c.ws.tally[hits]++
		}
		if !r.NoReply {
			c.ws.out = protocol.AppendBinaryNumber(c.ws.out, r, result.Number, c.shownCAS(result.CAS))
		}
	case engine.NotFound:
		c.ws.tally[misses]++
		c.binaryError(r, protocol.StatusNotFound)
	case engine.Exists:
		c.binaryError(r, protocol.StatusExists)
	case engine.NonNumeric:
		c.binaryError(r, protocol.StatusNonNumeric)
	default:
		c.ws.out = protocol.AppendBinaryText(c.ws.out, r, protocol.StatusOutOfMemory,
			"Out of memory incrementing value")
	}
}

func (c *conn) binaryDelete(r *protocol.Request) {
	if c.s.detail.enabled.Load() {
		c.s.detail.recordDelete(r.Key)
	}
	m := &c.ws.mutation
	*m = engine.Mutation{Verb: engine.Delete, Key: r.Key, CAS: r.CAS}
	switch c.mutate(m).Outcome {
	case engine.Deleted:
		c.ws.tally[deleteHits]++
		c.binaryOK(r, 0)
	case engine.Exists:
		c.binaryError(r, protocol.StatusExists)
	default:
		c.ws.tally[deleteMisses]++
		c.binaryError(r, protocol.StatusNotFound)
	}
}

// binaryFlush is flush_all. memcached does not count one that is not allowed.
func (c *conn) binaryFlush(r *protocol.Request) {
	if !c.s.allowed(AdminFlushAll) {
		c.binaryError(r, protocol.StatusAuthError)
		return
	}
	c.ws.tally[cmdFlush]++
	c.s.flush(protocol.BinaryDeadline(r.Binary.Exptime, c.s.engine.Now()))
	c.binaryOK(r, 0)
}
