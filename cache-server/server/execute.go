// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// execute answers every complete request of the input. False means that the connection is to be closed once
// the replies are sent.
func (c *conn) execute() bool {
	if now := c.s.engine.Now(); c.lastCommand.Load() != now {
		c.lastCommand.Store(now)
	}
	near := 0 // requests up to here had their items brought near; the first one cannot wait for that
	for first := true; ; first = false {
		in := c.ws.in[c.start:]
		if c.skip > 0 {
			n := min(c.skip, len(in))
			c.skip -= n
			c.start += n
			in = in[n:]
		}
		if len(in) == 0 {
			return true
		}
		if c.left--; c.left < 0 && c.pause() {
			return true
		}
		if !first && c.start >= near {
			near = c.start + c.lookAhead(in)
		}
		var complete, proceed bool
		if c.isBinary(in[0]) {
			complete, proceed = c.binaryRequest(in)
		} else {
			complete, proceed = c.textRequest(in)
		}
		if !complete || !proceed {
			return proceed
		}
		if len(c.ws.out) >= flushAt && !c.flush() {
			return false
		}
	}
}

// textRequest executes the request at the start of in. complete is false when it has not come yet; proceed is
// false when the connection is to be closed once the replies are sent.
func (c *conn) textRequest(in []byte) (complete, proceed bool) {
	if name := protocol.LooksForeign(in, !c.begun); name != "" {
		return true, c.closeForeign(name)
	}
	line, n, scan := protocol.NextLine(in, min(c.scanned, len(in)))
	switch scan {
	case protocol.Incomplete, protocol.LongGet:
		c.scanned = len(in)
		return false, true
	case protocol.TooLong:
		c.closing(reasonLineTooLong)
		return true, false
	case protocol.Complete:
	}
	c.scanned = 0
	if !c.begun {
		if c.begun = true; c.endsHere(in, line) {
			return true, false
		}
	}
	r := &c.ws.request
	protocol.Parse(line, r)
	r.ShortLine(n)
	if r.Meta.Binary {
		r.Key = protocol.DecodeKey(c.ws.key[:0], r.Key)
	}
	if r.Command.IsStore() && r.Problem == "" {
		return c.store(r, n)
	}
	c.start += n
	return true, c.command(r)
}

// endsHere looks at the first line of a connection for what is no client's, ends it there and answers nothing.
func (c *conn) endsHere(in, line []byte) bool {
	if protocol.IsHTTP(line) {
		return !c.closeForeign(protocol.ProtocolHTTP)
	}
	nonce, _ := protocol.FindProbe(in)
	if nonce == nil {
		return false
	}
	c.s.nonces.note(string(nonce))
	c.s.changes.tell()
	c.closing(reasonProbe)
	return true
}

// closeForeign ends a connection that speaks another protocol: nothing after that line is executed.
func (c *conn) closeForeign(name string) bool {
	c.s.closes[reasonForeign].Add(1)
	c.ended = endError
	c.s.tellRarely(&c.s.foreignAt, "Connection closed, it speaks another protocol", "protocol", name, "peer", c.peer())
	return false
}

// tellRarely logs what is worth telling, but once a second is enough: whoever connects must not be able to flood the
// log. The rest is told to who looks for it.
func (s *Server) tellRarely(at *atomic.Int64, what string, args ...any) {
	tell := s.log.Debug
	now := time.Now().Unix()
	if last := at.Load(); last != now && at.CompareAndSwap(last, now) {
		tell = s.log.Info
	}
	tell(what, args...)
}

// reply appends a reply unless the client wants none.
func (c *conn) reply(r *protocol.Request, reply string) {
	if !r.NoReply {
		c.ws.out = append(c.ws.out, reply...)
	}
}

// command executes one request that has no data block. False means that the connection is to be closed.
func (c *conn) command(r *protocol.Request) bool {
	if c.refusedAdmin(r) {
		return true
	}
	if r.Problem != "" {
		c.skip = r.Swallow
		if !r.NoReply {
			c.ws.out = protocol.AppendLine(c.ws.out, r.Problem)
		}
		return true
	}
	switch r.Command {
	case protocol.Get, protocol.Gets, protocol.Gat, protocol.Gats:
		return c.get(r)
	case protocol.Incr, protocol.Decr:
		c.arithmetic(r)
	case protocol.Touch:
		c.touch(r)
	case protocol.Delete:
		c.delete(r)
	case protocol.MetaGet, protocol.MetaDelete, protocol.MetaArithmetic, protocol.MetaDebug, protocol.MetaNoop:
		return c.meta(r)
	case protocol.Version:
		c.ws.out = protocol.AppendLine(c.ws.out, "VERSION "+c.s.cfg.Version)
	case protocol.Stats:
		return c.stats(r)
	case protocol.FlushAll:
		c.flushAll(r)
	case protocol.Verbosity:
		c.s.setVerbosity(int(min(r.Number, maxVerbosity)))
		c.reply(r, protocol.ReplyOK)
	case protocol.CacheMemlimit:
		c.reply(r, c.s.setBudget(r.Number))
	case protocol.ConfigGet, protocol.ConfigSet, protocol.ConfigDelete:
		c.config(r)
	case protocol.Shutdown:
		return c.shutdown(r)
	case protocol.Watch:
		return c.watch(r)
	case protocol.LRUCrawler:
		return c.lruCrawler(r)
	case protocol.Debugtime:
		c.debugtime(r)
	case protocol.Quit:
		return false
	case protocol.Foreign:
		return c.closeForeign(protocol.ProtocolHTTP)
	default:
		c.reply(r, protocol.ReplyError)
	}
	return true
}

// refusedAdmin answers an admin command that is not allowed.
func (c *conn) refusedAdmin(r *protocol.Request) bool {
	var admin AdminCommand
	var name string
	switch r.Command {
	case protocol.FlushAll:
		c.ws.tally[cmdFlush]++
		admin, name = AdminFlushAll, "flush_all"
	case protocol.CacheMemlimit:
		admin, name = AdminCacheMemlimit, "cache_memlimit"
	case protocol.Verbosity:
		admin, name = AdminVerbosity, "verbosity"
	case protocol.Stats:
		switch string(r.Args[0]) {
		case "reset":
			admin, name = AdminStatsReset, "stats reset"
		case "detail":
			admin, name = AdminStatsDetail, "stats detail"
		case "conns":
			admin, name = AdminStatsConns, "stats conns"
		case "cachedump":
			admin, name = AdminStatsCachedump, "stats cachedump"
		}
	default:
	}
	if admin == "" || c.s.allowed(admin) {
		return false
	}
	if !r.NoReply {
		c.ws.out = protocol.AppendNotAllowed(c.ws.out, name)
	}
	return true
}

func (c *conn) arithmetic(r *protocol.Request) {
	m := &c.ws.mutation
	*m = engine.Mutation{Verb: engine.Increment, Key: r.Key, Delta: r.Number}
	hits, misses := incrHits, incrMisses
	if r.Command == protocol.Decr {
		m.Verb, hits, misses = engine.Decrement, decrHits, decrMisses
	}
	result := c.mutate(m)
	switch result.Outcome {
	case engine.Stored:
		c.ws.tally[hits]++
		if !r.NoReply {
			c.ws.out = protocol.AppendNumber(c.ws.out, result.Number)
		}
	case engine.NotFound:
		c.ws.tally[misses]++
		c.reply(r, protocol.ReplyNotFound)
	case engine.NonNumeric:
		c.reply(r, protocol.ReplyNonNumeric)
	default:
		c.reply(r, protocol.ReplyNoMemory)
	}
}

func (c *conn) touch(r *protocol.Request) {
	m := &c.ws.mutation
	*m = engine.Mutation{Verb: engine.Touch, Key: r.Key, Expires: protocol.Deadline(r.Exptime, c.s.engine.Now())}
	c.ws.tally[cmdTouch]++
	if c.mutate(m).Outcome == engine.Touched {
		c.ws.tally[touchHits]++
		c.reply(r, protocol.ReplyTouched)
		return
	}
	c.ws.tally[touchMisses]++
	c.reply(r, protocol.ReplyNotFound)
}

func (c *conn) delete(r *protocol.Request) {
	if c.s.detail.enabled.Load() {
		c.s.detail.recordDelete(r.Key)
	}
	m := &c.ws.mutation
	*m = engine.Mutation{Verb: engine.Delete, Key: r.Key}
	if c.mutate(m).Outcome == engine.Deleted {
		c.ws.tally[deleteHits]++
		c.reply(r, protocol.ReplyDeleted)
		return
	}
	c.ws.tally[deleteMisses]++
	c.reply(r, protocol.ReplyNotFound)
}

func (c *conn) flushAll(r *protocol.Request) {
	c.s.flush(protocol.Deadline(r.Exptime, c.s.engine.Now()))
	c.reply(r, protocol.ReplyOK)
}

// flush makes what is stored invalid: now, or later, or as of a point in time. What lies before the start
// cannot have been stored here, so that such a point only calls off a flush that was to come.
func (s *Server) flush(at int64) {
	now := s.engine.Now()
	switch {
	case at > 0 && at <= s.engineStart:
		s.engine.FlushAll(math.MaxInt64)
		return
	case at <= now+1:
		at = 0
	default:
		at-- // memcached flushes what was stored up to the second before
	}
	s.engine.FlushAll(at)
	s.flushedAt.Store(max(at, now))
}
