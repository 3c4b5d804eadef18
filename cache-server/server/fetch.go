// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// maxValueHeader is the longest VALUE line but for its key.
const maxValueHeader = len("VALUE ") + len(" 4294967295 2147483647 18446744073709551615\r\n")

// get answers the get family. False means that the connection is lost.
func (c *conn) get(r *protocol.Request) bool {
	deadline := int64(0)
	touches := r.Command == protocol.Gat || r.Command == protocol.Gats
	if touches {
		deadline = protocol.Deadline(r.Exptime, c.s.engine.Now())
	}
	withCAS := r.Command == protocol.Gets || r.Command == protocol.Gats
	keys, valid := validKeys(r.Keys)
	if !valid && !touches {
		c.ws.out = append(c.ws.out, protocol.ReplyBadFormat...)
		return true
	}
	near := keys // the keys whose items were not brought near yet; for one alone there is nothing to gain
	for key, rest := protocol.NextToken(keys); len(key) > 0; key, rest = protocol.NextToken(rest) {
		if len(rest) > 0 && len(rest) <= len(near) {
			near = c.prefetch(near)
		}
		if !valid {
			// The keys before one that is too long are touched, and their values not sent.
			c.touchOnly(key, deadline)
			continue
		}
		if c.isDiscovery(key) && !touches {
			if !c.appendDiscovery("VALUE ", legacyDiscoveryKey) {
				return true
			}
			c.countGet(key, true, false)
			continue
		}
		hit, ok := c.appendItem(key, withCAS, touches, deadline)
		if !ok {
			c.ws.out = append(c.ws.out, protocol.ReplyWriteMemory...)
			return true
		}
		c.countGet(key, hit, touches)
		if len(c.ws.out) >= flushAt && !c.flush() {
			return false
		}
		if c.left--; c.left < -turnWork {
			c.breathe()
		}
	}
	if !valid {
		c.ws.out = append(c.ws.out, protocol.ReplyBadFormat...)
		return true
	}
	c.ws.out = append(c.ws.out, protocol.ReplyEnd...)
	return true
}

// validKeys cuts keys before the first that is too long, and tells whether there was none such.
func validKeys(keys []byte) ([]byte, bool) {
	rest := keys
	for {
		before := len(keys) - len(rest)
		var key []byte
		key, rest = protocol.NextToken(rest)
		if len(key) > protocol.MaxKeyLen {
			return keys[:before], false
		}
		if len(rest) == 0 {
			return keys, true
		}
	}
}

func (c *conn) touchOnly(key []byte, deadline int64) {
	m := &c.ws.mutation
	*m = engine.Mutation{Verb: engine.Touch, Key: key, Expires: deadline}
	c.countGet(key, c.mutate(m).Outcome == engine.Touched, true)
}

func (c *conn) countGet(key []byte, hit, touches bool) {
	t := &c.ws.tally
	switch {
	case touches && hit:
		t[cmdTouch]++
		t[touchHits]++
	case touches:
		t[cmdTouch]++
		t[touchMisses]++
	case hit:
		t[cmdGet]++
		t[getHits]++
	default:
		t[cmdGet]++
		t[getMisses]++
	}
	if c.s.detail.enabled.Load() {
		c.s.detail.recordGet(key, hit)
	}
}

// read asks the engine for an item and appends its value to dst.
func (c *conn) read(dst, key []byte, touches bool, deadline int64) (out []byte, it engine.Item, hit bool) {
	if touches {
		out, it, hit = c.s.engine.GetAndTouch(dst, key, deadline)
	} else {
		out, it, hit = c.s.engine.Get(dst, key)
	}
	c.looked(key, &it, hit)
	return out, it, hit
}

// appendItem appends one item with its header to the replies. ok is false when there is no memory for it.
//
// The header goes before the value but is known only after it was read. So room is left for a header as long
// as the last one was, and the value is moved where that was wrong.
func (c *conn) appendItem(key []byte, withCAS, touches bool, deadline int64) (hit, ok bool) {
	if item, held := c.hold(key, touches, deadline); held {
		c.ws.out = c.appendValueHeader(c.ws.out, key, &item, withCAS)
		c.placeHeld()
		c.ws.out = append(c.ws.out, "\r\n"...)
		return true, true
	}
	out, base, item, hit, ok := c.readBehind(key, len("VALUE ")+len(key)+c.suffix, touches, deadline)
	if !hit || !ok {
		return hit, ok
	}
	gap := base + len("VALUE ") + len(key) + c.suffix
	var buf [maxValueHeader + protocol.MaxKeyLen]byte
	header := c.appendValueHeader(buf[:0], key, &item, withCAS)
	if move := base + len(header) - gap; move != 0 {
		out = slices.Grow(out, max(move, 0))[:len(out)+move]
		copy(out[gap+move:], out[gap:gap+item.Size])
	}
	copy(out[base:], header)
	c.suffix = len(header) - len("VALUE ") - len(key)
	c.ws.out = append(out, "\r\n"...)
	return true, true
}

func (c *conn) appendValueHeader(dst, key []byte, it *engine.Item, withCAS bool) []byte {
	if withCAS {
		return protocol.AppendValueHeaderCAS(dst, key, it.Flags, it.Size, c.shownCAS(it.CAS))
	}
	return protocol.AppendValueHeader(dst, key, it.Flags, it.Size)
}

// readBehind reads an item behind the replies, out[:base], and room for a header. ok is false when there is no
// memory for it. The caller keeps out as the replies.
func (c *conn) readBehind(key []byte, header int, touches bool, deadline int64,
) (out []byte, base int, item engine.Item, hit, ok bool) {
	ws := c.ws
	if c.large > 0 && !c.expectLarge() {
		return nil, 0, item, false, false
	}
	base = len(ws.out)
	before := ws.out
	out, item, hit = c.read(slices.Grow(ws.out, header)[:base+header], key, touches, deadline)
	if !hit {
		return nil, 0, item, false, true
	}
	if cap(out) > outputSize && !c.holdOutput(cap(out)) {
		ws.out = before
		c.large = item.Size // from now on room is made first
		out = nil           //nolint:ineffassign // what was just read must not stay while others are waited for
		if out, item, hit, ok = c.readLater(key, item.Size, header, touches, deadline); !hit || !ok {
			return nil, 0, item, hit, ok
		}
		base = 0
	}
	if c.large = 0; item.Size > outputSize {
		c.large = item.Size
	}
	return out, base, item, true, true
}

// holdOutput takes from the budget what a connection with an output buffer of n bytes holds.
func (c *conn) holdOutput(n int) bool {
	need := int64(n) + largeShare
	if need <= c.outHeld {
		return true
	}
	if !c.s.transfer.try(need - c.outHeld) {
		return false
	}
	c.outHeld = need
	return true
}

// expectLarge makes room for a value as large as the last: who reads large values does so again.
func (c *conn) expectLarge() bool {
	room := len(c.ws.out) + largeRoom(c.large)
	if room <= cap(c.ws.out) {
		return true
	}
	return c.flush() && c.roomFor(c.large)
}

// largeRoom is what a value of a given size and its header take.
func largeRoom(size int) int {
	return size + maxValueHeader + protocol.MaxKeyLen + 64
}

// roomFor waits for memory for a value of the given size. The replies before it have been sent.
func (c *conn) roomFor(size int) bool {
	room := largeRoom(size)
	need := int64(room) + largeShare
	if !c.awaitMemory(need) {
		return false
	}
	c.outHeld = need
	c.ws.out = make([]byte, 0, room)
	return true
}

// readLater sends what there is, waits for memory for a value of about the given size, and reads it anew.
func (c *conn) readLater(key []byte, size, header int, touches bool, deadline int64,
) (out []byte, item engine.Item, hit, ok bool) {
	if !c.flush() || !c.roomFor(size) {
		return nil, item, false, false
	}
	out, item, hit = c.read(c.ws.out[:header], key, touches, deadline)
	if hit && !c.holdOutput(cap(out)) {
		return nil, item, false, false // it was replaced by a larger one meanwhile
	}
	return out, item, hit, true
}
