// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// lookAhead has the engine bring near the items of the next requests in the input, and returns how much of the input
// needs no other look.
func (c *conn) lookAhead(in []byte) int {
	var keys [engine.PrefetchKeys][]byte
	n, looked := protocol.NextKeys(in, c.binary, keys[:])
	if n > 1 {
		c.s.engine.Prefetch(keys[:n])
	}
	return max(looked, 1)
}

// prefetch has the engine bring near the items of the next keys of a get, and returns the keys after them.
func (c *conn) prefetch(keys []byte) []byte {
	var ahead [engine.PrefetchKeys][]byte
	n := 0
	for n < len(ahead) {
		if ahead[n], keys = protocol.NextToken(keys); len(ahead[n]) == 0 {
			break
		}
		n++
	}
	c.s.engine.Prefetch(ahead[:n])
	return keys
}
