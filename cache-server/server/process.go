// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strconv"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// shutdown answers the command of that name. False means that the connection is to be closed.
func (c *conn) shutdown(r *protocol.Request) bool {
	graceful := r.NArgs == 1 && string(r.Args[0]) == "graceful"
	switch {
	case !c.s.allowed(AdminShutdown) || c.s.cfg.Shutdown == nil:
		c.reply(r, protocol.ReplyNoShutdown)
		return true
	case r.NArgs > 0 && !graceful:
		c.reply(r, protocol.ReplyBadShutdown)
		return true
	}
	c.ended = endShutdown
	c.s.log.Info("A client asked for a stop", "graceful", graceful)
	c.s.cfg.Shutdown()
	return false
}

// debugtime stops the clock (p), lets it run (r) or moves it by seconds. It exists in tests alone.
func (c *conn) debugtime(r *protocol.Request) {
	move := c.s.cfg.MoveClock
	word := string(r.Args[0])
	seconds, err := strconv.ParseInt(word, 10, 64)
	switch {
	case move == nil || word == "":
		c.reply(r, protocol.ReplyError)
		return
	case word == "p" || word == "r":
		move(word == "p", word == "r", 0)
	case err != nil:
		c.reply(r, protocol.ReplyError)
		return
	default:
		move(false, false, seconds)
	}
	c.reply(r, protocol.ReplyOK)
}
