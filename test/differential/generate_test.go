// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// plainKeys is a small set, so that commands meet each other's items.
var plainKeys = []string{
	"a", "b", "counter", "counter:two", "prefix:one", "prefix:two", "tab\tkey", "caf\xc3\xa9",
	strings.Repeat("k", 250), "0", "noreply",
}

// generator makes the two streams of one conversation, which differ in CAS numbers alone.
type generator struct {
	rng     *rand.Rand
	symbols *symbols
	out     [2]bytes.Buffer
	ends    [][2]int // where each command ends

	keys []string // the stream's own
	// counting are the counters that are counted on in this conversation, and not asked for. memcached pads a number
	// that has become shorter with spaces, unless it happens to be sending the old one at that moment.
	counting []string
	// alone tells that no other stream runs, so that commands may touch all items.
	alone bool
	// pace has the expiry times to choose from; without one there are those that never lie near the clock.
	pace *pace

	// newer tells that the reference is a memcached 1.6.45.
	newer bool

	flushLater bool
	long       int // how many large values the conversation has had
}

// newGenerator makes one that adds prefix to each key. What it makes depends on nothing but the seed, the part of
// the stream, and how many CAS numbers were seen.
func newGenerator(seed, part uint64, prefix string, seen *symbols) *generator {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0x6d656d6b656570+part)), symbols: seen}
	for _, key := range plainKeys {
		g.keys = append(g.keys, prefix+key[:min(len(key), 250-len(prefix))])
	}
	for _, key := range g.keys[2:4] {
		if g.chance(2) {
			g.counting = append(g.counting, key)
		}
	}
	g.flushLater = seed%2 == 0
	return g
}

// emit adds to both streams. A symbol among the arguments becomes each server's number.
func (g *generator) emit(format string, args ...any) {
	own := make([]any, len(args))
	for side := range g.out {
		for i, arg := range args {
			own[i] = arg
			if k, ok := arg.(symbol); ok {
				own[i] = g.symbols.number(side, k)
			}
		}
		fmt.Fprintf(&g.out[side], format, own...)
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
		return strings.Repeat("l", 251) // for commands that do not drop replies over it
	}
	return g.shortKey()
}

func (g *generator) shortKey() string {
	return g.keys[g.rng.IntN(len(g.keys))]
}

// fetchKeys are the keys whose values may be asked for.
func (g *generator) fetchKeys() []string {
	return slices.DeleteFunc(slices.Clone(g.keys), func(key string) bool { return slices.Contains(g.counting, key) })
}

func (g *generator) fetchKey() string {
	for {
		if key := g.shortKey(); !slices.Contains(g.counting, key) {
			return key
		}
	}
}

// textKey is one of the keys that are appended to, which numbers are not: they stay below 2^63. Of a larger number
// memcached 1.6.18 reads on into whatever lies behind the item, and may find it not to be a number.
func (g *generator) textKey() string {
	for {
		if key := g.shortKey(); !strings.Contains(key, "counter") {
			return key
		}
	}
}

func (g *generator) countKey() string {
	return pick(g, g.counting...)
}

// cas chooses the CAS that a key was last seen with, or another one.
func (g *generator) cas(key string) symbol {
	current, known := g.symbols.current[key]
	switch {
	case known && !g.chance(4):
		return current
	case len(g.symbols.values) > 0 && !g.chance(3):
		return symbol(g.rng.IntN(len(g.symbols.values)))
	default:
		return -1
	}
}

// exptime never lies near the clock, so that both servers see it on one side.
func (g *generator) exptime() string {
	switch {
	case g.chance(40):
		return pick(g, "x", "", "--1", "99999999999999999999", "1x", "1.5", "0x10")
	case g.pace != nil:
		return pick(g, g.pace.ttls...)
	}
	return pick(g, "0", "0", "0", "0", "1000", "2592000", "-1", "-100", "2592001", "1000000000", "2147483647", "0005000")
}

func (g *generator) flags() string {
	if g.chance(40) {
		return pick(g, "-1", "x", "18446744073709551616", "1.5")
	}
	return pick(g, "0", "0", "1", "123", "65535", "4294967295")
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
	case g.chance(400) && g.long < 1:
		g.long++
		return g.randomBytes(g.rng.IntN(900_000))
	case g.chance(50):
		return g.randomBytes(g.rng.IntN(9000))
	case g.chance(4):
		value := g.randomBytes(g.rng.IntN(100))
		if len(value) > 0 && len(bytes.Trim(value, " \t\n\v\f\r")) == 0 {
			value[0] = 'w' // memcached looks for a number in what stands behind white space alone
		}
		return value
	default:
		return bytes.Repeat([]byte{byte('a' + g.rng.IntN(26))}, g.rng.IntN(60))
	}
}

// valueFor gives counters no large values: of a value in several chunks memcached says that it is no number before it
// looks at the CAS.
func (g *generator) valueFor(key string) []byte {
	value := g.value()
	if strings.Contains(key, "counter") {
		return value[:min(len(value), 9000)]
	}
	return value
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

// mark notes that a command ends here.
func (g *generator) mark() {
	g.ends = append(g.ends, [2]int{g.out[0].Len(), g.out[1].Len()})
}

// streams are what was made for each side.
func (g *generator) streams() [2][]byte {
	return [2][]byte{g.out[0].Bytes(), g.out[1].Bytes()}
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
