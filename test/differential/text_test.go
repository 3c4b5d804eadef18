// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"bytes"
	"cmp"
	"strconv"
	"strings"
)

// openText deletes the stream's keys and stores a few items.
func openText(g *generator) {
	for _, key := range g.keys {
		g.emit("delete %s noreply\r\n", key)
	}
	for range 20 {
		g.emit("set %s %d 0 2 noreply\r\n%02d\r\n", g.shortKey(), g.rng.IntN(9), g.rng.IntN(99))
	}
}

// closeText asks for every key's CAS.
func closeText(g *generator) {
	g.emit("gets %s\r\n", strings.Join(g.fetchKeys(), " "))
}

// count makes an incr or decr.
func (g *generator) count() {
	if len(g.counting) == 0 {
		return
	}
	verb := pick(g, "incr", "decr")
	delta := pick(g, "0", "1", "1", "5", "99", "1000000")
	switch {
	case g.chance(20):
		delta = pick(g, "-1", "x", "18446744073709551616", "1x", "0x10")
	case verb == "decr" && g.chance(4):
		delta = pick(g, "18446744073709551615", "18446744073709551614")
	}
	g.emit("%s %s %s%s%s", verb, g.countKey(), delta, g.noreply(), g.end())
}

func (g *generator) noreply() string {
	switch {
	case g.chance(6):
		return " noreply"
	case g.chance(60):
		return pick(g, " foo", " noreply ", " NOREPLY", " 0", "  noreply", " noreply noreply")
	default:
		return ""
	}
}

// store makes a storage command, one time in some with a length or an end that is wrong.
func (g *generator) store() {
	verb := pick(g, "set", "set", "set", "add", "replace", "append", "prepend")
	value := g.value()
	size := strconv.Itoa(len(value))
	end := "\r\n"
	if g.chance(60) {
		size = pick(g, "-1", "x", "0", "5", strconv.Itoa(len(value)+1), strconv.Itoa(max(len(value)-1, 0)),
			"99999999999999999999", "-2147483648", size+" 1 2 3")
	}
	if g.chance(80) {
		end = pick(g, "", "\n", "\r", "xx", "\n\r")
	}
	key := g.key()
	if verb == "append" || verb == "prepend" {
		key = g.textKey()
	}
	flags, exptime := g.flags(), g.exptime()
	if !g.whole(key, flags, exptime) {
		size = "x"                     // else the value is thrown away, unless by 1.6.18
		exptime = cmp.Or(exptime, "x") // what follows a size in the place of an expiry would be one
	}
	g.emit("%s %s %s %s %s%s%s%s%s", verb, key, flags, exptime, size, g.noreply(), g.end(), value, end)
}

// compareAndSwap uses a number that the server gave out before this conversation, which may be stale by now.
func (g *generator) compareAndSwap() {
	key, value := g.shortKey(), g.value()
	flags, exptime, size := g.flags(), g.exptime(), strconv.Itoa(len(value))
	if !g.whole(key, flags, exptime) {
		size = "x"
		exptime = cmp.Or(exptime, "x") // a word less would be a cas without a number
	}
	g.emit("cas %s %s %s %s %d%s%s%s\r\n", key, flags, exptime, size, g.cas(key), g.noreply(), g.end(), value)
}

// whole tells whether nothing is wrong with the words of a store before its size. To a 1.6.45 all of them will do.
func (g *generator) whole(key, flags, exptime string) bool {
	_, flagsErr := strconv.ParseUint(flags, 10, 32)
	_, exptimeErr := strconv.ParseInt(exptime, 10, 32)
	return g.newer || len(key) <= 250 && flagsErr == nil && exptimeErr == nil
}

func (g *generator) fetch() {
	verb := pick(g, "get", "get", "get", "gets", "gat", "gats", "bget")
	g.emit("%s", verb)
	if verb[1] == 'a' {
		g.emit(" %s", g.exptime())
	}
	count := 1
	switch {
	case g.chance(100):
		count = 60 + g.rng.IntN(60)
	case g.chance(4):
		count = g.rng.IntN(6)
	}
	if verb != "get" && verb != "gets" {
		count = min(count, 6) // only those two may be longer than 2048 bytes however they are cut
	}
	for range count {
		g.emit("%s%s", pick(g, " ", " ", " ", "  "), g.fetchKey())
	}
	g.emit("%s", g.end())
}

// admin makes the commands that have no key.
func (g *generator) admin() {
	g.emit("%s%s%s", pick(g, "version", "verbosity 0", "verbosity 1", "verbosity x", "verbosity", "verbosity 0 1 2",
		g.flush(), g.flush(), g.flush(), "flush_all x", "flush_all 1 2 3",
		"cache_memlimit", "cache_memlimit x", "cache_memlimit 100", "cache_memlimit 256",
		"cache_memlimit 2000000000", "cache_memlimit -1", "stats nothing", "stats detail",
		"stats detail maybe", "version 1 2", "delete"), g.noreply(), g.end())
}

// flush makes a flush_all, for one stream either always at once or always later or in the past: in memcached
// one of the others brings back what the first has made invalid and nobody has asked for since.
func (g *generator) flush() string {
	if g.flushLater {
		return pick(g, "flush_all 5000", "flush_all 9000", "flush_all 1000000000")
	}
	return pick(g, "flush_all", "flush_all 0", "flush_all -5")
}

// broken makes what no client sends.
func (g *generator) broken() {
	switch g.rng.IntN(8) {
	case 0:
		g.emit("%s\n", bytes.ReplaceAll(g.randomBytes(g.rng.IntN(300)), []byte{0x80}, []byte{0x81}))
	case 1:
		g.emit("%s", pick(g, "\r\n", "\n", " \r\n", "\r\r\n", "\x00\r\n", "a\r\n", "xx\r\n", "   \n", "\t\r\n"))
	case 2:
		g.emit("get %s\x00hidden\r\n", g.fetchKey())
	case 3:
		g.emit("%s\r\n", pick(g, "get", "gets", "gat", "gat 0", "set", "set a", "set a 0", "set a 0 0",
			"incr", "incr a", "touch", "touch a", "delete", "append", "SET a 0 0 1", "getx a", "ge", "quitx"))
	case 4:
		g.emit("%s\r\n", bytes.Repeat([]byte("word "), g.rng.IntN(60)))
	case 5:
		g.emit("%s %s\r\n", pick(g, "set", "incr", "touch", "delete", "version", "flush_all x"),
			bytes.Repeat([]byte("z "), 1+g.rng.IntN(40)))
	case 6:
		size := 1_100_000 + g.rng.IntN(500_000)
		if g.long < 1 {
			g.long++
			g.emit("%s %s 0 0 %d%s\r\n%s\r\n", pick(g, "set", "add", "append"), g.textKey(), size,
				pick(g, "", " noreply"), g.randomBytes(size))
		}
	default:
		g.emit(" %s %s \r\n", pick(g, "get", "delete"), g.fetchKey())
	}
}

func textCommand(g *generator) {
	switch n := g.rng.IntN(100); {
	case n < 30:
		g.store()
	case n < 62:
		g.fetch()
	case n < 68:
		g.compareAndSwap()
	case n < 78:
		g.count()
	case n < 84:
		g.emit("delete %s%s%s%s", g.key(), pick(g, "", "", "", " 0", " 5"), g.noreply(), g.end())
	case n < 90:
		g.emit("touch %s %s%s%s", g.key(), g.exptime(), g.noreply(), g.end())
	case n < 94 && g.alone:
		g.admin()
	default:
		g.broken()
	}
}
