// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strings"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// binaryStats answers stat. memcached goes by how the key begins where it changes something or tells of
// settings, and by the whole key elsewhere.
func (c *conn) binaryStats(r *protocol.Request) {
	c.publish()
	switch key := string(r.Key); {
	case key == "":
		c.appendBinaryStats(r, c.s.generalStats())
	case strings.HasPrefix(key, "reset"):
		if !c.s.allowed(AdminStatsReset) {
			c.binaryError(r, protocol.StatusAuthError)
			return
		}
		c.s.resetStats()
		c.appendBinaryStats(r, nil)
	case strings.HasPrefix(key, "settings"):
		c.appendBinaryStats(r, c.s.settingsStats())
	case strings.HasPrefix(key, "detail"):
		c.binaryDetail(r, key[len("detail"):])
	case key == "items":
		c.appendBinaryStats(r, c.s.itemStats())
	case key == "slabs":
		c.appendBinaryStats(r, c.s.slabStats())
	case key == "engine":
		c.appendBinaryStats(r, c.s.engineStats())
	case key == "sizes" && !c.leaveForSizes():
		c.binaryError(r, protocol.StatusOutOfMemory)
	case key == "sizes":
		c.appendBinaryStats(r, c.s.sizeStats())
	default:
		c.binaryError(r, protocol.StatusNotFound)
	}
}

// appendBinaryStats appends one reply for each, and an empty one.
func (c *conn) appendBinaryStats(r *protocol.Request, stats []stat) {
	for _, st := range stats {
		c.ws.out = protocol.AppendBinaryStat(c.ws.out, r, st.name, st.value)
	}
	c.ws.out = protocol.AppendBinaryStat(c.ws.out, r, "", "")
}

// binaryDetail is stats detail. What is not allowed or not understood is not found, as in memcached.
func (c *conn) binaryDetail(r *protocol.Request, what string) {
	if !c.s.allowed(AdminStatsDetail) {
		c.binaryError(r, protocol.StatusNotFound)
		return
	}
	var stats []stat
	switch {
	case strings.HasPrefix(what, " dump"):
		stats = []stat{{"detailed", string(c.s.detail.appendDump(nil)) + protocol.ReplyEnd}}
	case strings.HasPrefix(what, " on"):
		c.s.detail.enabled.Store(true)
	case strings.HasPrefix(what, " off"):
		c.s.detail.enabled.Store(false)
	default:
		c.binaryError(r, protocol.StatusNotFound)
		return
	}
	c.appendBinaryStats(r, stats)
}
