// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// meta executes a meta command that has no data block. False means that the connection is lost.
func (c *conn) meta(r *protocol.Request) bool {
	switch r.Command {
	case protocol.MetaGet:
		return c.metaGet(r)
	case protocol.MetaDelete:
		c.metaDelete(r)
	case protocol.MetaArithmetic:
		c.metaArithmetic(r)
	case protocol.MetaDebug:
		c.metaDebug(r)
	default: // MetaNoop
		c.ws.out = append(c.ws.out, protocol.ReplyMetaNoop...)
	}
	return true
}

// deadlines are what the expiry times of a request mean at one moment.
type deadlines struct {
	now int64
	// touched and vivified are those of T and N, or 0.
	touched, vivified int64
}

func (c *conn) deadlines(r *protocol.Request) deadlines {
	d := deadlines{now: c.s.engine.Now()}
	if r.Meta.Touch {
		d.touched = c.s.deadline(r.Exptime, d.now)
	}
	if r.Meta.Vivify {
		d.vivified = c.s.deadline(r.Meta.VivifyExptime, d.now)
	}
	return d
}

// deadline is what an expiry time means. All that lies before the start is the same second, as in the engine and in
// memcached.
func (s *Server) deadline(exptime int32, now int64) int64 {
	at := protocol.Deadline(exptime, now)
	if at == 0 {
		return 0
	}
	return max(at, s.engineStart-1)
}

// made is when an item that the request makes expires: T and N act in their turn.
func (d *deadlines) made(r *protocol.Request) int64 {
	if r.Meta.TouchedLast {
		return d.touched
	}
	return d.vivified
}

// ttl is how many seconds are left until an expiry.
func (d *deadlines) ttl(expires int64) int64 {
	if expires == 0 {
		return protocol.Immortal
	}
	return expires - d.now
}

// metaItem is what replies may show of an item.
func (c *conn) metaItem(r *protocol.Request, d *deadlines, it *engine.Item) protocol.MetaItem {
	m := protocol.MetaItem{
		Key: r.Key, BinaryKey: it.BinaryKey, Flags: it.Flags, CAS: c.shownCAS(it.CAS), Size: it.Size,
		TTL: d.ttl(it.Expires), TouchedTTL: d.ttl(it.Expires), Idle: max(d.now-it.LastAccess, 0),
		Fetched: it.Fetched, WinSent: it.WinSent, Stale: it.Stale,
	}
	if r.Meta.Binary && !m.BinaryKey {
		m.BinaryKey = !wordlike(r.Key)
	}
	return m
}

// wordlike tells whether a key can stand in a line. memcached shows some keys that were given in base64 as they are;
// here none breaks a reply.
func wordlike(key []byte) bool {
	for _, c := range key {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

func (c *conn) metaDelete(r *protocol.Request) {
	d := c.deadlines(r)
	m := &c.ws.mutation
	*m = engine.Mutation{
		Verb: engine.Delete, Key: r.Key, CAS: r.CAS, HasCAS: r.Meta.HasCAS, Flags: r.Flags,
		Expires: d.touched, SetExpiry: r.Meta.Touch, NewCAS: r.Meta.NewCAS, HasNewCAS: r.Meta.HasNewCAS,
		Invalidate: r.Meta.Invalidate, DropValue: r.Meta.DropValue,
	}
	code := protocol.MetaHit
	switch c.mutate(m).Outcome {
	case engine.Deleted:
		if !r.Meta.Invalidate {
			c.ws.tally[deleteHits]++
		}
		if r.Meta.Quiet {
			return
		}
	case engine.NotFound:
		c.ws.tally[deleteMisses]++
		code = protocol.MetaNotFound
	case engine.Exists:
		c.ws.tally[deleteMisses]++
		code = protocol.MetaExists
	default:
		c.ws.out = append(c.ws.out, protocol.ReplyNoMemory...)
		return
	}
	c.ws.out = protocol.AppendMetaCode(c.ws.out, r, code)
}

func (c *conn) metaArithmetic(r *protocol.Request) {
	d := c.deadlines(r)
	m := &c.ws.mutation
	*m = engine.Mutation{
		Verb: engine.Increment, Key: r.Key, Delta: r.Number, CAS: r.CAS, Expires: d.touched, SetExpiry: r.Meta.Touch,
		NewCAS: r.Meta.NewCAS, HasNewCAS: r.Meta.HasNewCAS,
		Vivify: r.Meta.Vivify, VivifyExpires: d.made(r), Initial: r.Meta.Initial,
	}
	hits, misses := incrHits, incrMisses
	if r.Meta.Mode == 'D' || r.Meta.Mode == '-' {
		m.Verb, hits, misses = engine.Decrement, decrHits, decrMisses
	}
	res := c.mutate(m)
	switch res.Outcome {
	case engine.Stored:
		if !res.Created {
			c.ws.tally[hits]++
		}
		if r.Meta.Quiet {
			return
		}
		it := c.metaItem(r, &d, &res.Item)
		it.BinaryKey = r.Meta.Binary
		it.TTL, it.VivifiedTTL, it.Created = d.ttl(res.OldExpires), d.ttl(d.vivified), res.Created
		if res.Created {
			it.TouchedTTL = d.ttl(d.touched)
		}
		c.ws.out = protocol.AppendMetaNumber(c.ws.out, r, res.Number, &it)
	case engine.NotFound:
		c.ws.tally[misses]++
		c.ws.out = protocol.AppendMetaCode(c.ws.out, r, protocol.MetaNotFound)
	case engine.Exists:
		c.ws.out = protocol.AppendMetaCode(c.ws.out, r, protocol.MetaExists)
	case engine.NonNumeric:
		c.ws.out = append(c.ws.out, protocol.ReplyNonNumeric...)
	default:
		c.ws.out = append(c.ws.out, protocol.ReplyNoMemory...)
	}
}

func (c *conn) metaDebug(r *protocol.Request) {
	d := c.deadlines(r)
	c.ws.tally[cmdMeta]++
	// Plain reads leave no trace in an item that somebody may still win.
	it, ok := c.s.engine.Peek(r.Key)
	if !ok {
		c.ws.out = append(c.ws.out, protocol.ReplyMetaEnd...)
		return
	}
	m := c.metaItem(r, &d, &it)
	total := engine.ItemSize(len(r.Key), it.Size, it.Flags)
	c.ws.out = protocol.AppendMetaDebug(c.ws.out, &m, c.s.classes.of(total), total)
}
