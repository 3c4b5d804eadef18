// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"syscall"

	"github.com/memkeep/memkeep/cache-server/engine"
)

// hold reads a large value without a copy, for a client whose last one was large: who reads large values does
// so again. It is false where there is none, or too much is held already; then the value is read as any other.
// The caller appends what goes before it, calls placeHeld, and may append more. One value is held at a time.
func (c *conn) hold(key []byte, touches bool, deadline int64) (engine.Item, bool) {
	if c.large < engine.SnapshotSize {
		return engine.Item{}, false
	}
	if it, ok := c.s.engine.Peek(key); !ok || it.Size < engine.SnapshotSize {
		return engine.Item{}, false
	}
	if c.ws.held.Size() > 0 && !c.flush() {
		return engine.Item{}, false
	}
	if c.outHeld < largeShare {
		if !c.awaitMemory(largeShare - c.outHeld) {
			return engine.Item{}, false
		}
		c.outHeld = largeShare
	}
	r := engine.Read{Key: key, Touch: touches, Expires: deadline, Plain: true, Hold: &c.ws.held}
	_, res := c.s.engine.Read(nil, &r)
	if res.Held {
		c.large = res.Item.Size
		c.looked(key, &res.Item, true)
	}
	return res.Item, res.Held
}

// placeHeld puts the value that is held behind the replies so far.
func (c *conn) placeHeld() {
	c.ws.heldAt = len(c.ws.out)
}

// sendHeld sends the gathered replies and the value that is held among them.
func (c *conn) sendHeld() bool {
	ws := c.ws
	defer ws.held.Release()
	var buf [maxPieces][]byte
	pieces := append(buf[:0], ws.out[:ws.heldAt])
	for piece := ws.held.Next(); piece != nil; piece = ws.held.Next() {
		pieces = append(pieces, piece)
	}
	pieces = append(pieces, ws.out[ws.heldAt:])
	ws.tally[bytesWritten] += uint64(len(ws.out) + ws.held.Size())
	c.publish()
	c.left -= flushWork
	return c.sendAll(pieces)
}

// sendAll sends pieces. Where it has to wait for the client, the connection leaves its loop.
func (c *conn) sendAll(pieces [][]byte) bool {
	if c.l != nil {
		n, errno := sendPieces(c.fd, pieces)
		if errno != 0 && errno != syscall.EAGAIN {
			return false
		}
		pieces = behind(pieces, n)
	}
	return len(pieces) == 0 || c.writeSlowly(pieces)
}

// behind is what is left of pieces after their first n bytes.
func behind(pieces [][]byte, n int) [][]byte {
	for len(pieces) > 0 && n >= len(pieces[0]) {
		n -= len(pieces[0])
		pieces = pieces[1:]
	}
	if len(pieces) > 0 {
		pieces[0] = pieces[0][n:]
	}
	return pieces
}
