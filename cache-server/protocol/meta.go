// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import "strings"

// Limits of the meta commands.
const (
	// MaxMetaWords is how many words a meta command may have.
	MaxMetaWords = 20
	// MaxOpaqueLen is the longest opaque flag in bytes, its O included.
	MaxOpaqueLen = 32

	maxSizeDigits   = 11 // of numbers of 32 bits, a sign included
	maxNumberDigits = 22 // of numbers of 64 bits
	maxStoreSize    = 1<<31 - 1 - 2
)

// Replies to malformed meta commands.
const (
	problemManyFlags = "CLIENT_ERROR options flags are too long"
	problemDuplicate = "CLIENT_ERROR duplicate flag"
	problemFlag      = "CLIENT_ERROR invalid flag"
	problemToken     = "CLIENT_ERROR bad token in command line format"
	problemBase64    = "CLIENT_ERROR error decoding key"
	problemInitial   = "CLIENT_ERROR invalid numeric initial value"
	problemMetaDelta = "CLIENT_ERROR invalid numeric delta value"
	problemOpaque    = "CLIENT_ERROR opaque token too long"
	problemSetMode   = "CLIENT_ERROR invalid mode for ms M token"
	problemCountMode = "CLIENT_ERROR invalid mode for ma M token"
	problemAnyFlag   = "CLIENT_ERROR invalid or duplicate flag"
)

// Meta is what only meta commands have.
type Meta struct {
	// Flags are the flags as they were given: words, to be taken one by one with NextToken. The reply shows what
	// they ask for in their order.
	Flags []byte
	// Mode is the letter after M, or 0.
	Mode byte
	// Binary (b) means that Key is in base64, to be read with DecodeKey.
	Binary bool
	// Quiet (q) hides the reply that tells the least.
	Quiet bool
	// Value (v) asks for the value.
	Value bool
	// NoBump (u) lets a read leave no trace.
	NoBump bool
	// Invalidate (I) marks what is deleted stale, or stores although it is.
	Invalidate bool
	// DropValue (x) deletes the value and leaves the item.
	DropValue bool
	// HasCAS (C) tells that CAS is to be compared.
	HasCAS bool
	// HasNewCAS (E) tells that the item shall have the CAS NewCAS.
	HasNewCAS bool
	NewCAS    uint64
	// Touch (T) tells that Exptime is to be set.
	Touch bool
	// Vivify (N) makes a missing item that expires at VivifyExptime.
	Vivify        bool
	VivifyExptime int32
	// Recache (R) asks to win an item that expires before RecacheExptime.
	Recache        bool
	RecacheExptime int32
	// TouchedFirst tells that T stands before R, TouchedLast that it stands behind N: each flag acts in its turn.
	TouchedFirst, TouchedLast bool
	// Initial (J) is the number of an item that ma makes.
	Initial uint64
}

// parseMeta reads a meta command. It reports whether the line is one. Numbers are checked as memcached 1.6.45 does.
func parseMeta(line []byte, r *Request) bool {
	if len(line) < 2 || line[0] != 'm' || len(line) > 2 && line[2] != ' ' {
		return false
	}
	rest := line[2:]
	switch line[1] {
	case 'n':
		r.Command = MetaNoop
	case 'e':
		parseMetaDebug(rest, r)
	case 'g':
		parseMetaKeyed(rest, r, MetaGet)
	case 's':
		parseMetaSet(rest, r)
	case 'd':
		parseMetaKeyed(rest, r, MetaDelete)
	case 'a':
		parseMetaKeyed(rest, r, MetaArithmetic)
	default:
		return false
	}
	return true
}

// parseMetaDebug reads me <key> [b]. Further words count for nothing.
func parseMetaDebug(rest []byte, r *Request) {
	key, flags := NextToken(rest)
	first, _ := NextToken(flags)
	if _, legal := countFlags(flags, 2); len(key) == 0 || len(key) > MaxKeyLen || !legal {
		r.fail(problemFormat)
		return
	}
	r.Command, r.Key = MetaDebug, key
	if string(first) == "b" {
		if r.Meta.Binary = decodes(key); !r.Meta.Binary {
			r.fail(problemFormat)
		}
	}
}

// parseMetaKeyed reads mg|md|ma <key> <flags>*.
func parseMetaKeyed(rest []byte, r *Request, command Command) {
	key, flags := NextToken(rest)
	words, legal := countFlags(flags, 2)
	if len(key) == 0 || !legal {
		r.fail(problemFormat)
		return
	}
	r.Command, r.Key, r.Number = command, key, 1
	modes := ""
	if command == MetaArithmetic {
		modes = "I+D-"
	}
	problem := r.parseFlags(flags, words, modes, problemCountMode)
	if command == MetaArithmetic && problem != "" && problem != problemCountMode && problem != problemOpaque {
		problem = problemAnyFlag
	}
	r.fail(problem)
}

// parseMetaSet reads ms <key> <size> <flags>*. Where the size could be read, the data block is known, and thrown
// away with the request if that is malformed.
func parseMetaSet(rest []byte, r *Request) {
	key, rest := NextToken(rest)
	word, flags := NextToken(rest)
	size, ok := metaInt32(word)
	words, legal := countFlags(flags, 3)
	if len(word) == 0 || !ok || size < 0 || size > maxStoreSize || !legal {
		r.fail(problemFormat)
		return
	}
	r.Key = key
	if problem := r.parseFlags(flags, words, "EAPRS", problemSetMode); problem != "" {
		r.Swallow = int(size) + 2
		r.fail(problem)
		return
	}
	r.Command, r.Size = MetaSet, int(size)
}

// nextFlag is NextToken for words that are short.
func nextFlag(line []byte) (word, rest []byte) {
	start := 0
	for start < len(line) && line[start] == ' ' {
		start++
	}
	end := start
	for end < len(line) && line[end] != ' ' {
		end++
	}
	return line[start:end], line[end:]
}

// countFlags counts the words of a line whose flags come after the first n, and tells whether all flags begin with
// something that may be one. memcached finds that out while it looks for words, so that it goes before anything else.
func countFlags(flags []byte, n int) (words int, legal bool) {
	for word, rest := nextFlag(flags); len(word) > 0 && n < maxWords; word, rest = nextFlag(rest) {
		if c := word[0]; (c < 'A' || c > 'z') && (c < '0' || c > '9') {
			return n, false
		}
		n++
	}
	return n, true
}

// parseFlags reads the flags of a line of so many words. modes are the letters that M may have.
func (r *Request) parseFlags(flags []byte, words int, modes, modeProblem string) (problem string) {
	r.Meta.Flags = flags
	if len(r.Key) > MaxKeyLen {
		return problemFormat
	}
	if words > MaxMetaWords {
		return problemManyFlags
	}
	var seen [2]uint64
	problem = problemFormat
	failed, longOpaque := false, false
	for word, rest := nextFlag(flags); len(word) > 0; word, rest = nextFlag(rest) {
		c := word[0]
		if c >= 127 || seen[c>>6]>>(c&63)&1 != 0 {
			return problemDuplicate
		}
		seen[c>>6] |= 1 << (c & 63)
		said, ok := r.parseFlag(c, word)
		if said == problemFlag {
			return problemFlag
		}
		if !ok && said != "" {
			problem = said
		}
		failed = failed || !ok
		longOpaque = longOpaque || c == 'O' && len(word) > MaxOpaqueLen
	}
	mode := r.Meta.Mode
	switch {
	case failed:
		return problem
	case modes != "" && mode != 0 && strings.IndexByte(modes, mode) < 0:
		return modeProblem
	case longOpaque:
		return problemOpaque
	}
	return ""
}

// parseFlag reads one flag. A problem without words leaves those of an earlier one standing.
func (r *Request) parseFlag(c byte, word []byte) (problem string, ok bool) {
	m, arg := &r.Meta, word[1:]
	switch c {
	case 'b':
		m.Binary = true
		return problemBase64, decodes(r.Key)
	case 'N':
		m.Vivify = true
		m.VivifyExptime, ok = metaInt32(arg)
	case 'T':
		m.Touch, m.TouchedLast, m.TouchedFirst = true, m.Vivify, !m.Recache
		r.Exptime, ok = metaInt32(arg)
	case 'R':
		m.Recache = true
		m.RecacheExptime, ok = metaInt32(arg)
	case 'F':
		var flags uint64
		flags, ok = parseDigits(arg, 1<<32-1, maxSizeDigits)
		r.Flags = uint32(flags)
		return "", ok
	case 'C':
		m.HasCAS = true
		r.CAS, ok = metaUint64(arg)
	case 'E':
		m.HasNewCAS = true
		m.NewCAS, ok = metaUint64(arg)
	case 'J':
		m.Initial, ok = metaUint64(arg)
		return problemInitial, ok
	case 'D':
		r.Number, ok = metaUint64(arg)
		return problemMetaDelta, ok
	case 'M':
		m.Mode = ' '
		if len(arg) > 0 {
			m.Mode = arg[0]
		}
		return "", true
	default:
		return m.parseSwitch(c)
	}
	return problemToken, ok
}

// parseSwitch reads a flag without an argument. Whatever follows its letter counts for nothing.
func (m *Meta) parseSwitch(c byte) (problem string, ok bool) {
	switch c {
	case 'v':
		m.Value = true
	case 'u':
		m.NoBump = true
	case 'q':
		m.Quiet = true
	case 'x':
		m.DropValue = true
	case 'I':
		m.Invalidate = true
	case 'O', 'P', 'L': // to be sent back, and for proxies
	case 'k', 's', 't', 'c', 'f', 'l', 'h': // for the reply
	default:
		return problemFlag, false
	}
	return "", true
}

// decodes tells whether a word is base64.
func decodes(word []byte) bool {
	var buf [MaxKeyLen]byte
	return len(DecodeKey(buf[:0], word)) > 0
}

// metaInt32 reads a number of 32 bits. A lone minus is 0, as in memcached.
func metaInt32(word []byte) (int32, bool) {
	switch {
	case len(word) > maxSizeDigits:
		return 0, false
	case string(word) == "-":
		return 0, true
	}
	return parseInt32(word)
}

func metaUint64(word []byte) (uint64, bool) {
	return parseDigits(word, 1<<64-1, maxNumberDigits)
}
