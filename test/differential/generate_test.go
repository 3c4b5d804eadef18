// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
)

// keys is a small set, so that commands meet each other's items.
var keys = []string{
	"a", "b", "counter", "counter:two", "prefix:one", "prefix:two", "tab\tkey", "caf\xc3\xa9",
	string(bytes.Repeat([]byte("k"), 250)), "0", "noreply",
}

// counters are the keys that are counted on and not appended to. memcached pads a number that has become
// shorter with spaces, unless it happens to be sending the old one at that moment: so padding is compared in
// a test of its own, one command at a time. They stay below 2^63 too: of a larger number memcached 1.6.18 reads on
// into whatever lies behind the item, and may find it not to be a number.
var counters = keys[2:4]

// texts are the keys that are appended to.
var texts = append(append([]string{}, keys[:2]...), keys[4:]...)

// generator makes streams of commands. A cas command needs the numbers of each server, so that it makes two
// streams at once that differ in those alone.
type generator struct {
	rng  *rand.Rand
	cas  [2]map[string]uint64
	out  [2]bytes.Buffer
	ends [2][]int // where each command ends
	long int      // how many large values this stream has had

	flushLater bool
}

func newGenerator(seed uint64, cas [2]map[string]uint64) *generator {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0x6d656d6b656570)), cas: cas}
	g.flushLater = g.chance(2)
	return g
}

func (g *generator) emit(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for i := range g.out {
		g.out[i].WriteString(text)
	}
}

func pick[T any](g *generator, choices ...T) T {
	return choices[g.rng.IntN(len(choices))]
}

// chance is true once in n times.
func (g *generator) chance(n int) bool {
	return g.rng.IntN(n) == 0
}

func (g *generator) key() string {
	if g.chance(200) {
		return string(bytes.Repeat([]byte("l"), 251)) // for commands that do not drop replies over it
	}
	return keys[g.rng.IntN(len(keys))]
}

func (g *generator) shortKey() string {
	return keys[g.rng.IntN(len(keys))]
}

// exptime never lies near the clock, so that both servers see it on one side.
func (g *generator) exptime() string {
	if g.chance(40) {
		return pick(g, "x", "", "--1", "99999999999999999999", "1x", "1.5", "0x10")
	}
	return pick(g, "0", "0", "0", "0", "1000", "2592000", "-1", "-100", "2592001", "1000000000", "2147483647", "0005000")
}

func (g *generator) flags() string {
	if g.chance(40) {
		return pick(g, "-1", "x", "18446744073709551616", "1.5")
	}
	return pick(g, "0", "0", "1", "123", "65535", "4294967295")
}

// count makes an incr or decr.
func (g *generator) count() {
	verb := pick(g, "incr", "decr")
	delta := pick(g, "0", "1", "1", "5", "99", "1000000")
	switch {
	case g.chance(20):
		delta = pick(g, "-1", "x", "18446744073709551616", "1x", "0x10")
	case verb == "decr" && g.chance(4):
		delta = pick(g, "18446744073709551615", "18446744073709551614")
	}
	g.emit("%s %s %s%s%s", verb, counters[g.rng.IntN(len(counters))], delta, g.noreply(), g.end())
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

// end is the end of a line, a bare newline now and then.
func (g *generator) end() string {
	if g.chance(12) {
		return "\n"
	}
	return "\r\n"
}

// value makes bytes of all kinds. Larger ones hold a newline at least every 200 bytes: where one is read as
// commands, no line may be so long that the reply depends on how the bytes were cut on their way.
func (g *generator) value() []byte {
	switch {
	case g.chance(3):
		return []byte(pick(g, "0", "1", "42", "4611686018427387904", "99999", " 7", "7 ", "12x", "-3", "", "007"))
	case g.chance(400) && g.long < 2:
		g.long++
		return g.randomBytes(g.rng.IntN(900_000))
	case g.chance(50):
		return g.randomBytes(g.rng.IntN(9000))
	case g.chance(4):
		return g.randomBytes(g.rng.IntN(100))
	default:
		return bytes.Repeat([]byte{byte('a' + g.rng.IntN(26))}, g.rng.IntN(60))
	}
}

func (g *generator) randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.rng.Uint32())
		if i%200 == 199 {
			b[i] = '\n'
		}
	}
	return b
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
	if verb[len(verb)-1] == 'd' && verb != "add" {
		key = texts[g.rng.IntN(len(texts))]
	}
	g.emit("%s %s %s %s %s%s%s%s%s", verb, key, g.flags(), g.exptime(), size, g.noreply(), g.end(), value, end)
}

// compareAndSwap uses a number that the server gave out when the stream began, which may be stale by now.
func (g *generator) compareAndSwap() {
	key, value, flags, exptime := g.shortKey(), g.value(), g.flags(), g.exptime()
	noreply, end := g.noreply(), g.end()
	wrong := g.chance(4)
	for i := range g.out {
		cas := g.cas[i][key]
		if wrong {
			cas = 1 << 60
		}
		fmt.Fprintf(&g.out[i], "cas %s %s %s %d %d%s%s%s\r\n", key, flags, exptime, len(value), cas, noreply, end, value)
	}
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
		g.emit("%s%s", pick(g, " ", " ", " ", "  "), g.shortKey())
	}
	g.emit("%s", g.end())
}

// admin makes the commands that have no key.
func (g *generator) admin() {
	g.emit("%s%s%s", pick(g, "version", "verbosity 0", "verbosity 1", "verbosity x", "verbosity", "verbosity 0 1 2",
		g.flush(), g.flush(), g.flush(), "flush_all x", "flush_all 1 2 3",
		"cache_memlimit", "cache_memlimit x", "cache_memlimit 7", "cache_memlimit 256",
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
		g.emit("get %s\x00hidden\r\n", g.shortKey())
	case 3:
		g.emit("%s\r\n", pick(g, "get", "gets", "gat", "gat 0", "set", "set a", "set a 0", "set a 0 0", "cas a 0 0 1",
			"incr", "incr a", "touch", "touch a", "delete", "append", "SET a 0 0 1", "getx a", "ge", "quitx"))
	case 4:
		g.emit("%s\r\n", bytes.Repeat([]byte("word "), g.rng.IntN(60)))
	case 5:
		g.emit("%s %s\r\n", pick(g, "set", "incr", "touch", "delete", "version", "flush_all x"),
			bytes.Repeat([]byte("z "), 1+g.rng.IntN(40)))
	case 6:
		size := 1_100_000 + g.rng.IntN(500_000)
		if g.long < 2 {
			g.long++
			g.emit("%s %s 0 0 %d%s\r\n%s\r\n", pick(g, "set", "add", "append"), texts[g.rng.IntN(len(texts))], size,
				pick(g, "", " noreply"), g.randomBytes(size))
		}
	default:
		g.emit(" %s %s \r\n", pick(g, "get", "delete", "incr"), g.shortKey())
	}
}

// command adds one command to the streams.
func (g *generator) command() {
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
	case n < 94:
		g.admin()
	default:
		g.broken()
	}
	g.mark()
}

// mark notes that a command ends here.
func (g *generator) mark() {
	for i := range g.ends {
		g.ends[i] = append(g.ends[i], g.out[i].Len())
	}
}

// prefix is what the first n commands send to each side.
func (g *generator) prefix(n int) [2][]byte {
	var streams [2][]byte
	for i := range streams {
		if n > 0 {
			streams[i] = g.out[i].Bytes()[:g.ends[i][n-1]]
		}
	}
	return streams
}

// cut divides a stream at random, into a few pieces or, rarely, many.
func cut(rng *rand.Rand, stream []byte) [][]byte {
	var pieces [][]byte
	most := 1 + rng.IntN(16_000)
	if rng.IntN(40) == 0 {
		most = 1 + rng.IntN(40)
	}
	if len(stream)/most > 200 {
		most = len(stream) / 200
	}
	for len(stream) > 0 {
		n := min(1+rng.IntN(most), len(stream))
		pieces = append(pieces, stream[:n])
		stream = stream[n:]
	}
	return pieces
}
