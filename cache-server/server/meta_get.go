// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// metaGet answers mg. False means that the connection is lost.
func (c *conn) metaGet(r *protocol.Request) bool {
	d := c.deadlines(r)
	q := engine.Read{
		Key: r.Key, NoValue: !r.Meta.Value, NoBump: r.Meta.NoBump, UnlessCAS: r.CAS, HasUnlessCAS: r.Meta.HasCAS,
		Touch: r.Meta.Touch, Expires: d.touched, Vivify: r.Meta.Vivify, VivifyExpires: d.made(r),
		NewCAS: r.Meta.NewCAS, HasNewCAS: r.Meta.HasNewCAS, RecacheTouched: r.Meta.TouchedFirst,
	}
	if r.Meta.Recache && r.Meta.RecacheExptime > 0 {
		q.Recache, q.RecacheBefore = true, protocol.Deadline(r.Meta.RecacheExptime, d.now)
	}
	out, gap, res, ok := c.readMeta(&q)
	if !ok {
		c.ws.out = append(c.ws.out, protocol.ReplyWriteMemory...)
		return true
	}
	c.looked(r.Key, &res.Item, res.Hit && !res.Created)
	t := &c.ws.tally
	switch {
	case !res.Hit:
		t[cmdGet]++
		t[getMisses]++
		if !r.Meta.Quiet {
			c.ws.out = protocol.AppendMetaCode(c.ws.out, r, protocol.MetaMiss)
		}
		return true
	case r.Meta.Touch:
		t[cmdTouch]++
		t[touchHits]++
	default:
		t[cmdGet]++
		t[getHits]++
	}
	it := c.metaItem(r, &d, &res.Item)
	it.TTL, it.VivifiedTTL, it.Created, it.Won = d.ttl(res.OldExpires), d.ttl(d.vivified), res.Created, res.Won
	if res.Created {
		it.TouchedTTL = d.ttl(d.touched)
	}
	if !res.HasValue {
		c.ws.out = protocol.AppendMetaGet(c.ws.out, r, &it, false)
		return true
	}
	c.putHeader(out, gap, protocol.AppendMetaGet(c.ws.header[:0], r, &it, true))
	return true
}

// readMeta does a read. A value goes behind the replies and room for a header as long as the last one was, and begins
// at out[gap]. ok is false when there is no memory for it.
func (c *conn) readMeta(q *engine.Read) (out []byte, gap int, res engine.ReadResult, ok bool) {
	if q.NoValue {
		_, res = c.s.engine.Read(nil, q)
		return nil, 0, res, true
	}
	if c.large > 0 && !c.expectLarge() {
		return nil, 0, res, false
	}
	gap = len(c.ws.out) + c.metaHeader
	out, res = c.s.engine.Read(slices.Grow(c.ws.out, c.metaHeader)[:gap], q)
	if !res.HasValue {
		return out, gap, res, true
	}
	if cap(out) > outputSize && !c.holdOutput(cap(out)) {
		// What the read has done stays done. The value is read anew once there is memory for it.
		if !c.flush() || !c.roomFor(res.Item.Size) {
			return nil, 0, res, false
		}
		first := res
		again := engine.Read{Key: q.Key, NoBump: true, UnlessCAS: q.UnlessCAS, HasUnlessCAS: q.HasUnlessCAS}
		gap = c.metaHeader
		out, res = c.s.engine.Read(c.ws.out[:gap], &again)
		if res.Hit && !c.holdOutput(cap(out)) {
			return nil, 0, res, false // it was replaced by a larger one meanwhile
		}
		res.Won = res.Hit && (res.Won || first.Won)
		res.Item.WinSent = res.Item.WinSent && !first.Won
		res.Item.LastAccess, res.Item.Fetched = first.Item.LastAccess, first.Item.Fetched
		res.OldExpires, res.Created = first.OldExpires, first.Created
	}
	if c.large = 0; res.Item.Size > outputSize {
		c.large = res.Item.Size
	}
	return out, gap, res, true
}

// putHeader puts a header before the value at out[gap], and moves that where the header is not as long as the last
// one was.
func (c *conn) putHeader(out []byte, gap int, header []byte) {
	base := gap - c.metaHeader
	if move := len(header) - c.metaHeader; move != 0 {
		value := len(out) - gap
		out = slices.Grow(out, max(move, 0))[:len(out)+move]
		copy(out[gap+move:], out[gap:gap+value])
	}
	copy(out[base:], header)
	c.metaHeader = len(header)
	c.ws.out = append(out, "\r\n"...)
}
