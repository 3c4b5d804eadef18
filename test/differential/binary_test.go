// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// noCAS is the CAS that asks for no comparison.
const noCAS symbol = -2

// send adds a packet with the number that each server has for a CAS.
func (g *generator) send(p packet, cas symbol) {
	for side := range g.out {
		number := uint64(0)
		if cas != noCAS {
			number = g.symbols.number(side, cas)
		}
		g.out[side].Write(p.header(number))
		g.out[side].WriteString(p.extras + p.key + p.value)
	}
}

func u32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
func u64(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

// oddSuffixes make keys that only the binary protocol has.
var oddSuffixes = []string{" ", "\x00", "\r\n", "\xff"}

// openBinary deletes the stream's keys, whether they were there or not, and stores a few items.
func openBinary(g *generator) {
	keys := slices.Clone(g.keys)
	for _, suffix := range oddSuffixes {
		keys = append(keys, g.keys[0]+suffix)
	}
	for _, key := range keys {
		g.send(packet{op: opSetQ, extras: u32(0) + u32(0), key: key}, noCAS)
		g.send(packet{op: opDeleteQ, key: key}, noCAS)
	}
	for range 20 {
		g.send(packet{op: opSetQ, extras: u32(uint32(g.rng.IntN(9))) + u32(0), key: g.shortKey(),
			value: strconv.Itoa(g.rng.IntN(99))}, noCAS)
	}
}

// closeBinary asks for every key's CAS.
func closeBinary(g *generator) {
	for _, key := range g.fetchKeys() {
		g.send(packet{op: opGetK, key: key}, noCAS)
	}
}

// seconds is an expiry time that never lies near the clock.
func (g *generator) seconds() uint32 {
	if g.pace != nil {
		n, _ := strconv.Atoi(pick(g, g.pace.ttls...))
		return uint32(n)
	}
	return pick(g, 0, 0, 0, 0, 1000, 2592000, 2592001, 1_000_000_000, 2_147_483_647, uint32(1)<<31, ^uint32(0)-5)
}

// packet begins a request; one in some has something unusual in its header that must not matter, or must.
func (g *generator) packet(op byte, key string) packet {
	p := packet{op: op, opaque: g.rng.Uint32(), key: key}
	if g.chance(60) {
		p.dataType = byte(g.rng.IntN(256))
	}
	if g.chance(60) {
		p.vbucket = uint16(g.rng.IntN(1 << 16))
	}
	return p
}

// maybeCAS asks for a comparison one time in n.
func (g *generator) maybeCAS(key string, n int) symbol {
	if g.chance(n) {
		return g.cas(key)
	}
	return noCAS
}

func (g *generator) binaryKey() string {
	switch {
	case g.chance(20):
		return g.keys[0] + pick(g, oddSuffixes...)
	default:
		return g.shortKey()
	}
}

func (g *generator) binaryStore() {
	p := g.packet(pick[byte](g, opSet, opSet, opSet, opAdd, opReplace, opSetQ, opAddQ, opReplaceQ), g.binaryKey())
	p.extras = u32(pick[uint32](g, 0, 0, 1, 123, ^uint32(0))) + u32(g.seconds())
	p.value = string(g.valueFor(p.key))
	g.send(p, g.maybeCAS(p.key, 3))
}

func (g *generator) binaryAppend() {
	p := g.packet(pick[byte](g, opAppend, opPrepend, opAppendQ, opPrependQ), g.textKey())
	p.value = string(g.value())
	g.send(p, g.maybeCAS(p.key, 4))
}

func (g *generator) binaryFetch() {
	p := g.packet(pick[byte](g, opGet, opGet, opGetQ, opGetK, opGetKQ, opGAT, opGATQ, opGATK, opGATKQ, opTouch), "")
	for p.key = g.binaryKey(); slices.Contains(g.counting, p.key); p.key = g.binaryKey() {
	}
	if p.op == opTouch || p.op >= opGAT {
		p.extras = u32(g.seconds())
	}
	g.send(p, g.maybeCAS(p.key, 20))
}

func (g *generator) binaryCount() {
	if len(g.counting) == 0 {
		return
	}
	p := g.packet(pick[byte](g, opIncrement, opIncrement, opDecrement, opIncrementQ, opDecrementQ), g.countKey())
	delta := pick[uint64](g, 0, 1, 1, 5, 99, 1_000_000)
	if (p.op == opDecrement || p.op == opDecrementQ) && g.chance(4) {
		delta = ^uint64(0) - delta
	}
	expires := g.seconds()
	if g.chance(3) {
		expires = ^uint32(0) // do not make one
	}
	p.extras = u64(delta) + u64(pick[uint64](g, 0, 7, 1<<40)) + u32(expires)
	g.send(p, g.maybeCAS(p.key, 4))
}

// binaryOther makes the commands that have no key.
func (g *generator) binaryOther() {
	p := g.packet(pick[byte](g, opNoop, opNoop, opNoop, opVersion, opVerbosity), "")
	if g.alone && g.chance(3) {
		p.op = pick[byte](g, opFlush, opFlushQ)
		p.extras = pick(g, "", u32(0))
		if g.flushLater {
			p.extras = u32(pick[uint32](g, 5000, 9000, 1_000_000_000))
		}
	}
	if g.alone && g.chance(10) {
		p.op, p.extras, p.key = opStat, "", pick(g, "nothing", "reset")
	}
	g.send(p, noCAS)
}

// brokenBinary makes what no client sends: unknown opcodes, and values that are too long. An unknown opcode has no
// body: memcached takes the length of one for the length of what follows.
func (g *generator) brokenBinary() {
	p := g.packet(0, "")
	switch g.rng.IntN(12) {
	case 0:
		g.lost()
		return
	case 1:
		if g.long > 0 {
			return
		}
		g.long++
		p.op, p.extras, p.key = pick[byte](g, opSet, opSetQ, opAdd, opAppend), u32(0)+u32(0), g.textKey()
		if p.op == opAppend {
			p.extras = ""
		}
		p.value = string(g.randomBytes(1_100_000 + g.rng.IntN(500_000)))
	default:
		// 0x60, 0x64 and 0x66 are ElastiCache's.
		p.op = pick[byte](g, opVerbosity, 0x1f, 0x25, 0x30, 0x40, 0x7f, 0xff, 0x61, 0x84)
	}
	g.send(p, noCAS)
}

// lost makes lengths and a magic that do not fit, keys that are too long or missing, and parts where none belong. The
// server closes, sooner or later.
func (g *generator) lost() {
	p := g.packet(byte(g.rng.IntN(0x25)), g.textKey())
	p.extras = strings.Repeat("\x00", pick(g, 0, 4, 8, 20, g.rng.IntN(30)))
	p.value = string(g.randomBytes(g.rng.IntN(20)))
	switch g.rng.IntN(6) {
	case 0:
		p.wrongKey = pick(g, 1, -1, 30, 300)
	case 1:
		p.wrongExtras = g.rng.IntN(256)
	case 2:
		p.wrongBody = pick(g, -len(p.key), max(-1, -len(p.key)), 1, 40)
	case 3:
		p.magic = pick[byte](g, 0x81, 0x7f, 's', 1)
	case 4:
		p.key = pick(g, "", strings.Repeat("l", 251), strings.Repeat("l", 300))
	}
	switch p.op {
	case opFlush, opFlushQ, opStat, opVerbosity, 0x1f:
		return
	case opTouch, opGAT, opGATQ, opGATK, opGATKQ:
		p.value, p.wrongBody = "", 0 // memcached reads what is behind the key as the next request
		if p.claimed() < len(p.extras)+len(p.key) && byte(len(p.extras)+p.wrongExtras) == touchExtras {
			return // so it would here, where the extras seem to be right
		}
	}
	g.send(p, noCAS)
}

func binaryCommand(g *generator) {
	switch n := g.rng.IntN(100); {
	case n < 25:
		g.binaryStore()
	case n < 32:
		g.binaryAppend()
	case n < 65:
		g.binaryFetch()
	case n < 77:
		g.binaryCount()
	case n < 84:
		p := g.packet(pick[byte](g, opDelete, opDeleteQ), g.binaryKey())
		g.send(p, g.maybeCAS(p.key, 4))
	case n < 95:
		g.binaryOther()
	default:
		g.brokenBinary()
	}
}
