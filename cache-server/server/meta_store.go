// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// metaStore stores a value of ms.
func (c *conn) metaStore(r *protocol.Request, v value) {
	t := &c.ws.tally
	t[cmdSet]++
	if !v.ended {
		c.ws.out = append(c.ws.out, protocol.ReplyBadChunk...)
		return
	}
	d := c.deadlines(r)
	m := &c.ws.mutation
	*m = engine.Mutation{
		Verb: metaVerb(r), Key: r.Key, Value: v.first, More: v.more, Flags: r.Flags, CAS: r.CAS, Expires: d.touched,
		NewCAS: r.Meta.NewCAS, HasNewCAS: r.Meta.HasNewCAS && r.Meta.NewCAS != 0, // ms takes E0 for none
		BinaryKey: r.Meta.Binary, Vivify: r.Meta.Vivify, VivifyExpires: d.vivified, Invalidate: r.Meta.Invalidate,
	}
	res := c.mutate(m)
	swaps := m.Verb == engine.CompareAndSwap
	code := protocol.MetaHit
	switch {
	case res.Outcome == engine.Stored:
		if swaps {
			t[casHits]++
		}
		if r.Meta.Quiet {
			return
		}
	case res.Outcome == engine.Exists:
		if swaps {
			t[casBadval]++
		}
		code = protocol.MetaExists
	case res.Outcome == engine.NotFound:
		if swaps {
			t[casMisses]++
		}
		code = protocol.MetaNotFound
	case res.Outcome == engine.TooLarge && (m.Verb == engine.Append || m.Verb == engine.Prepend):
		t[storeTooLarge]++
		code = protocol.MetaNotStored // the sum of both is too large, as memcached has it
	case res.Outcome == engine.NotStored:
		code = protocol.MetaNotStored
	case res.Outcome == engine.TooLarge:
		t[storeTooLarge]++
		c.ws.out = append(c.ws.out, protocol.ReplyTooLarge...)
		return
	default:
		t[storeNoMemory]++
		c.ws.out = append(c.ws.out, protocol.ReplyOutOfMemory...)
		return
	}
	it := protocol.MetaItem{Key: r.Key, BinaryKey: r.Meta.Binary, CAS: c.shownCAS(res.CAS), Size: r.Size}
	if res.Outcome == engine.Stored {
		it.Size = res.Item.Size
	}
	c.ws.out = protocol.AppendMetaStored(c.ws.out, r, code, &it)
}

// metaVerb is what a mode and a CAS make of ms: with a CAS, set and replace swap, and add does not look at it.
func metaVerb(r *protocol.Request) engine.Verb {
	switch r.Meta.Mode {
	case 'E':
		return engine.Add
	case 'A':
		return engine.Append
	case 'P':
		return engine.Prepend
	}
	switch {
	case r.Meta.HasCAS:
		return engine.CompareAndSwap
	case r.Meta.Mode == 'R':
		return engine.Replace
	}
	return engine.Set
}
