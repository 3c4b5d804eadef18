// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// openMeta deletes the stream's keys and stores a few items.
func openMeta(g *generator) {
	openText(g)
	for range 5 {
		g.emit("ms %s 3 q F%d T0\r\nabc\r\n", g.shortKey(), g.rng.IntN(9))
	}
}

// closeMeta asks for every key's CAS without using the items.
func closeMeta(g *generator) {
	for _, key := range g.keys {
		g.emit("me %s\r\n", key)
	}
}

// metaKey is a key, and the flag that goes with it.
func (g *generator) metaKey(key string) (word, flag string) {
	switch {
	case g.chance(200) && g.newer && g.alone:
		return pick(g, "====", "YQ", "Y Q==", "YQ==YQ==", "*", "Y*==", strings.Repeat("YWFh", 84)), " b"
	case g.chance(8) && len(key) < 180 && !strings.Contains(key, "tab"):
		return base64.StdEncoding.EncodeToString([]byte(key)), " b"
	default:
		return key, ""
	}
}

// longKey may be too long where the reference is a 1.6.45. 1.6.18 reads the value behind it as commands, and says what
// is wrong in other words.
func (g *generator) longKey() string {
	if g.newer {
		return g.key()
	}
	return g.shortKey()
}

// metaFlags chooses some of the flags that a command has, and now and then one that is wrong.
func (g *generator) metaFlags(most int, choose func() string) string {
	n := g.rng.IntN(most + 1)
	var flags []string
	have := make(map[byte]bool)
	for range n {
		flag := choose()
		if have[flag[0]] && (!g.newer || !g.chance(80)) {
			continue // a flag may come once
		}
		have[flag[0]] = true
		flags = append(flags, flag)
	}
	if g.chance(60) && g.newer {
		flags = append(flags, g.wrongFlag())
	}
	g.rng.Shuffle(len(flags), func(i, j int) { flags[i], flags[j] = flags[j], flags[i] })
	if len(flags) == 0 {
		return ""
	}
	return " " + strings.Join(flags, pick(g, " ", " ", " ", " ", " ", " ", "  "))
}

// wrongFlag is one that no command takes, or a token that none can be, for a 1.6.45: 1.6.18 has other words for them.
func (g *generator) wrongFlag() string {
	return pick(g, "z", "!", "7", "T", "Tx", "T-", "N", "Nx", "C", "Cx", "C-1", "F-1", "F", "Fx", "M", "Mz", "D", "Dx",
		"D-1", "Jx", "J-1", "E", "Ex", "R", "Rx", "S", "S5", "W", "X", "Z", "vv", "kx", "b", "qq", "T1x",
		"T99999999999999999999", "F4294967296", "C18446744073709551616")
}

// since is a flag that 1.6.18 does not have, or another one in its place.
func (g *generator) since(flag, instead string) string {
	if g.newer {
		return flag
	}
	return instead
}

// hints are the flags that all commands take.
func (g *generator) hints() string {
	return pick(g, "k", "O"+strconv.Itoa(g.rng.IntN(1000)), "q", "Oopaque", "O", "Pa/b", "Lx")
}

func (g *generator) metaTTL() string {
	if g.pace != nil {
		return pick(g, g.pace.ttls...)
	}
	return pick(g, "0", "0", "1000", "5000", "-1", "2592000", "2147483647")
}

// recache is a flag that asks for a winner once an item has less than so many seconds left. Whole periods of a pace
// are met between the parts, as expiries are.
func (g *generator) recache() string {
	if g.pace != nil {
		return fmt.Sprintf("R%d", int(g.pace.period.Seconds()))
	}
	return "R30"
}

// number of a CAS that a client chooses.
func (g *generator) newCAS() string {
	return "E" + strconv.FormatUint(literalCAS+g.rng.Uint64N(8), 10)
}

// casFlag adds C with a CAS that the server gave out.
func (g *generator) emitCASFlag(key string, oneIn int) {
	if g.chance(oneIn) {
		g.emit(" C%d", g.cas(key))
	}
}

func (g *generator) metaGet() {
	key := g.fetchKey()
	word, binary := g.metaKey(key)
	g.emit("mg %s%s", word, binary)
	if g.newer {
		g.emitCASFlag(key, 8)
	}
	g.emit("%s%s", g.metaFlags(8, func() string {
		if g.chance(3) {
			return g.hints()
		}
		return pick(g, "c", "f", "h", "l", "s", "t", "u", "v", "v", "v", "N"+g.metaTTL(), g.recache(), "R3000",
			"T"+g.metaTTL(), g.since(g.newCAS(), "v"))
	}), g.end())
}

func (g *generator) metaSet() {
	key, modes := g.longKey(), []string{"ME", "MR", "MS", "Me", "Mr", g.since("Mreplace", "Ms")}
	if !strings.Contains(key, "counter") {
		modes = append(modes, "MA", "MP", "Ma", "Mp", g.since("Mappend", "MA"))
	}
	word, binary := g.metaKey(key)
	value := g.valueFor(key)
	size, end := strconv.Itoa(len(value)), "\r\n"
	if g.chance(60) {
		size = pick(g, "-1", "x", "0", "5", strconv.Itoa(len(value)+1), strconv.Itoa(max(len(value)-1, 0)), "")
	}
	if g.chance(80) {
		end = pick(g, "", "\n", "\r", "xx", "\n\r")
	}
	g.emit("ms %s %s%s", word, size, binary)
	g.emitCASFlag(key, 4)
	g.emit("%s%s%s%s", g.metaFlags(6, func() string {
		if g.chance(3) {
			return g.hints()
		}
		return pick(g, "c", g.since("s", "c"), "F"+strconv.Itoa(g.rng.IntN(70000)), "I", "T"+g.metaTTL(), pick(g, modes...),
			pick(g, modes...), g.since("N"+g.metaTTL(), "c"), g.since(g.newCAS(), "I"))
	}), g.end(), value, end)
}

func (g *generator) metaDelete() {
	key := g.longKey()
	word, binary := g.metaKey(key)
	g.emit("md %s%s", word, binary)
	g.emitCASFlag(key, 4)
	g.emit("%s%s", g.metaFlags(4, func() string {
		if g.chance(3) {
			return g.hints()
		}
		return pick(g, "I", "I", g.since("x", "I"), "T"+g.metaTTL(), g.since(g.newCAS(), "I"))
	}), g.end())
}

func (g *generator) metaCount() {
	if len(g.counting) == 0 {
		return
	}
	key := g.countKey()
	word, binary := g.metaKey(key)
	g.emit("ma %s%s", word, binary)
	g.emitCASFlag(key, 6)
	g.emit("%s%s", g.metaFlags(6, func() string {
		if g.chance(3) {
			if hint := g.hints(); hint != "q" || g.newer {
				return hint // 1.6.18 tells all the same that it has made an item
			}
		}
		return pick(g, "c", "t", "v", "v", "N"+g.metaTTL(), "J"+pick(g, "0", "7", "4611686018427387904"),
			"D"+pick(g, "0", "1", "10", "100000"), "MI", "MD", "M+", "M-", "Mi", "Md", g.since("Mincr", "v"),
			g.since(g.newCAS(), "v"))
	}), g.end())
}

// brokenMeta makes what no client sends.
func (g *generator) brokenMeta() {
	n := g.rng.IntN(6)
	if n < 4 && (!g.newer || !g.alone) {
		g.emit("%s\r\n", pick(g, "mz a", "m", "mga a", "MG a", "mnx"))
		return
	}
	switch n {
	case 0:
		g.emit("%s\r\n", pick(g, "mg", "ms", "md", "ma", "me", "mn x", "mnx", "mz a", "m", "mg ", "ms ", "ms a", "ms a x",
			"ms a 2", "ms  a  2", "md ", "ma ", "me ", "mga a", "MG a", "mn ", " mn", "me a b c"))
	case 1:
		g.emit("%s %s v\r\n", pick(g, "mg", "md", "ma", "me"), strings.Repeat("l", 249+g.rng.IntN(4)))
	case 2:
		g.emit("ms %s 2\r\nxx\r\n", strings.Repeat("l", 251))
	case 3:
		g.emit("mg %s%s\r\n", g.fetchKey(), strings.Repeat(" v", g.rng.IntN(40)))
	case 4:
		size := 1_100_000 + g.rng.IntN(500_000)
		if g.long < 1 {
			g.long++
			g.emit("ms %s %d T0%s\r\n%s\r\n", g.textKey(), size, pick(g, "", " q", " ME", " MA"), g.randomBytes(size))
		}
	default:
		if !g.newer {
			g.broken()
		}
	}
}

func metaCommand(g *generator) {
	n := g.rng.IntN(100)
	switch {
	case n < 35:
		g.metaGet()
	case n < 60:
		g.metaSet()
	case n < 68:
		g.metaDelete()
	case n < 78:
		g.metaCount()
	case n < 82:
		word, binary := g.metaKey(g.shortKey())
		if g.newer && binary != "" { // 1.6.45 looks for the encoded key, against its own document
			return
		}
		g.emit("me %s%s%s", word, binary, g.end())
	case n < 85:
		g.emit("mn%s", g.since("\r\n", g.end())) // to 1.6.45 "mn\n" is too short to be a command
	case n < 90:
		g.brokenMeta()
	case !g.newer:
		textCommand(g)
	}
}
