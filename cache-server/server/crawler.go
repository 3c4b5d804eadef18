// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/base64"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// crawler is the state of lru_crawler. Expired items are reclaimed by the engine in any case; what is left for
// clients is to have that done now, and to walk all items.
type crawler struct {
	enabled atomic.Bool
	sleep   atomic.Int64 // microseconds, told and not used
	limit   atomic.Int64 // items of a class that crawl looks at; 0 for all; told and not used
	dumping atomic.Bool  // one dump at a time
	starts  atomic.Uint64
}

const (
	maxCrawlerSleep = 1_000_000
	// maxCachedump is how much stats cachedump answers at most, as in memcached.
	maxCachedump = 2 << 20
)

// lruCrawler answers lru_crawler. False means that the connection is lost.
func (c *conn) lruCrawler(r *protocol.Request) bool {
	s := c.s
	if !s.allowed(AdminLRUCrawler) {
		c.reply(r, protocol.ReplyNoCrawler)
		return true
	}
	sub, arg := string(r.Args[0]), string(r.Args[1])
	switch {
	case r.NArgs == 1 && sub == "enable":
		s.crawler.enabled.Store(true)
		c.reply(r, protocol.ReplyOK)
	case r.NArgs == 1 && sub == "disable":
		s.crawler.enabled.Store(false)
		c.reply(r, protocol.ReplyOK)
	case r.NArgs == 2 && (sub == "crawl" || sub == "metadump" || sub == "mgdump"):
		return c.crawl(r, sub, arg)
	case r.NArgs == 2 && (sub == "tocrawl" || sub == "sleep"):
		n, ok := protocol.ParseUint64(r.Args[1])
		switch {
		case !ok || n > 1<<32-1:
			c.reply(r, protocol.ReplyBadFormat)
		case sub == "tocrawl":
			s.crawler.limit.Store(int64(n))
			c.reply(r, protocol.ReplyOK)
		case n > maxCrawlerSleep:
			c.reply(r, protocol.ReplySleepLong)
		default:
			s.crawler.sleep.Store(int64(n))
			c.reply(r, protocol.ReplyOK)
		}
	default:
		c.reply(r, protocol.ReplyError)
	}
	return true
}

// crawl answers the three commands that go over the items of some classes.
func (c *conn) crawl(r *protocol.Request, sub, which string) bool {
	s := c.s
	chosen, valid := s.chooseClasses(which)
	switch {
	case !s.crawler.enabled.Load():
		c.reply(r, protocol.ReplyNoCrawler)
	case sub == "metadump" && s.cfg.NoDump:
		c.reply(r, protocol.ReplyNoMetadump)
	case sub == "mgdump" && s.cfg.NoDump:
		c.reply(r, protocol.ReplyNoMgdump)
	case sub != "crawl" && len(c.ws.out) > 0:
		c.ws.out = protocol.AppendPipelined(c.ws.out, sub)
	case !valid:
		c.reply(r, protocol.ReplyBadClass)
	case sub == "crawl":
		s.crawler.starts.Add(1)
		c.reply(r, protocol.ReplyOK)
	default:
		return c.dump(r, sub == "mgdump", chosen)
	}
	return true
}

// chooseClasses reads all, hash, or a list of class numbers. Nil stands for all classes.
func (s *Server) chooseClasses(which string) (chosen []bool, valid bool) {
	if which == "all" || which == "hash" {
		return nil, true
	}
	chosen = make([]bool, maxClasses+1)
	for word := range strings.SplitSeq(which, ",") {
		n, err := strconv.ParseUint(word, 10, 8)
		if err != nil || n < 1 || n > maxClasses {
			return nil, false
		}
		chosen[n] = true
	}
	return chosen, true
}

// dump walks all items and sends a line for each, as fast as the client reads them and in no order. It holds no
// lock and no more memory than one batch of lines.
func (c *conn) dump(r *protocol.Request, forMeta bool, chosen []bool) bool {
	if !c.s.crawler.dumping.CompareAndSwap(false, true) {
		c.reply(r, protocol.ReplyCrawlerBusy)
		return true
	}
	defer c.s.crawler.dumping.Store(false)
	if !c.leave() {
		c.reply(r, protocol.ReplyNoMemory)
		return true
	}
	c.s.crawler.starts.Add(1)
	c.ws.out = append(c.ws.out, protocol.ReplyOK...)
	alive := true
	c.s.engine.Range(func(key []byte, it engine.Item) bool {
		class := c.s.classes.of(engine.ItemSize(len(key), it.Size, it.Flags))
		if chosen != nil && !chosen[class] {
			return true
		}
		if forMeta {
			c.ws.out = appendMgdump(c.ws.out, key, &it)
		} else {
			it.CAS = c.shownCAS(it.CAS)
			c.ws.out = appendMetadump(c.ws.out, key, &it, class)
		}
		if len(c.ws.out) >= flushAt {
			alive = c.flush()
		}
		return alive
	})
	if !alive {
		return false
	}
	if forMeta {
		c.ws.out = append(c.ws.out, protocol.ReplyMetaEnd...)
	} else {
		c.ws.out = append(c.ws.out, protocol.ReplyEnd...)
	}
	return true
}

// appendMetadump appends a line of metadump.
func appendMetadump(dst, key []byte, it *engine.Item, class int) []byte {
	dst = appendEscaped(append(dst, "key="...), key)
	expires := it.Expires
	if expires == 0 {
		expires = -1
	}
	dst = strconv.AppendInt(append(dst, " exp="...), expires, 10)
	dst = strconv.AppendInt(append(dst, " la="...), it.LastAccess, 10)
	dst = strconv.AppendUint(append(dst, " cas="...), it.CAS, 10)
	dst = append(append(dst, " fetch="...), yesNo(it.Fetched)...)
	dst = strconv.AppendInt(append(dst, " cls="...), int64(class), 10)
	dst = strconv.AppendInt(append(dst, " size="...), int64(engine.ItemSize(len(key), it.Size, it.Flags)), 10)
	dst = strconv.AppendUint(append(dst, " flags="...), uint64(it.Flags), 10)
	return append(dst, " \n"...)
}

// appendMgdump appends a line of mgdump: the command that reads the item.
func appendMgdump(dst, key []byte, it *engine.Item) []byte {
	dst = append(dst, "mg "...)
	if it.BinaryKey {
		dst = base64.StdEncoding.AppendEncode(dst, key)
		return append(dst, " b\r\n"...)
	}
	dst = append(dst, key...)
	return append(dst, "\r\n"...)
}

// appendEscaped appends a key as it stands in a URI: all but letters, digits and -._~ in hexadecimal.
func appendEscaped(dst, key []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, b := range key {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9',
			b == '-', b == '.', b == '_', b == '~':
			dst = append(dst, b)
		default:
			dst = append(dst, '%', digits[b>>4], digits[b&15])
		}
	}
	return dst
}

// cachedump answers stats cachedump: some items of a class, in no order. False means that the connection is lost.
func (c *conn) cachedump(r *protocol.Request) bool {
	if r.NArgs < 3 {
		c.ws.out = append(c.ws.out, protocol.ReplyBadLine...)
		return true
	}
	class, ok1 := protocol.ParseUint64(r.Args[1])
	limit, ok2 := protocol.ParseUint64(r.Args[2])
	switch {
	case !ok1 || !ok2 || class > 1<<32-1 || limit > 1<<32-1:
		c.ws.out = append(c.ws.out, protocol.ReplyBadFormat...)
		return true
	case class > maxClasses:
		c.ws.out = append(c.ws.out, protocol.ReplyBadSlab...)
		return true
	}
	if !c.leave() {
		c.ws.out = append(c.ws.out, protocol.ReplyNoMemory...)
		return true
	}
	sent, shown, alive := 0, uint64(0), true
	c.s.engine.Range(func(key []byte, it engine.Item) bool {
		if it.BinaryKey || c.s.classes.of(engine.ItemSize(len(key), it.Size, it.Flags)) != int(class) {
			return true
		}
		before := len(c.ws.out)
		c.ws.out = protocol.AppendDumpedItem(c.ws.out, key, it.Size, it.Expires)
		if sent += len(c.ws.out) - before; sent > maxCachedump {
			c.ws.out = c.ws.out[:before]
			return false
		}
		shown++
		if len(c.ws.out) >= flushAt {
			alive = c.flush()
		}
		return alive && (limit == 0 || shown < limit)
	})
	if alive {
		c.ws.out = append(c.ws.out, protocol.ReplyEnd...)
	}
	return alive
}
