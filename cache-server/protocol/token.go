// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import "bytes"

// maxWords is how many words of a line are looked at; the rest counts for nothing, as in memcached.
const maxWords = 23

// NextToken takes the first word from a line. Words are parted by spaces alone; an empty word means that
// there is none left.
func NextToken(line []byte) (word, rest []byte) {
	for len(line) > 0 && line[0] == ' ' {
		line = line[1:]
	}
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		return line[:i], line[i+1:]
	}
	return line, nil
}

// words are the first words of a line.
type words struct {
	word [8][]byte
	n    int
	last []byte
}

// split finds up to maxWords words; those past the first eight are only counted.
func split(line []byte, w *words) {
	w.n = 0
	w.last = nil
	for w.n < maxWords {
		var word []byte
		word, line = NextToken(line)
		if len(word) == 0 {
			return
		}
		if w.n < len(w.word) {
			w.word[w.n] = word
		}
		w.n++
		w.last = word
	}
}

// noReply tells whether the last word asks for silence.
func (w *words) noReply() bool {
	return string(w.last) == "noreply"
}

func isSpace(c byte) bool {
	return c == ' ' || c >= '\t' && c <= '\r'
}

// magnitude reads what C's strtoull would: leading white space, a sign, digits, then the end of the word
// or white space and anything.
func magnitude(word []byte) (n uint64, negative, ok bool) {
	i := 0
	for i < len(word) && isSpace(word[i]) {
		i++
	}
	if i < len(word) && (word[i] == '-' || word[i] == '+') {
		negative = word[i] == '-'
		i++
	}
	start := i
	for ; i < len(word) && word[i] >= '0' && word[i] <= '9'; i++ {
		digit := uint64(word[i] - '0')
		if n > (1<<64-1-digit)/10 {
			return 0, false, false
		}
		n = n*10 + digit
	}
	if i == start || i < len(word) && !isSpace(word[i]) {
		return 0, false, false
	}
	return n, negative, true
}

// ParseUint64 reads an unsigned number as memcached does: minus signs count only where the result would
// look negative.
func ParseUint64(word []byte) (uint64, bool) {
	n, negative, ok := magnitude(word)
	if !ok {
		return 0, false
	}
	if negative {
		n = -n
	}
	if int64(n) < 0 && bytes.IndexByte(word, '-') >= 0 {
		return 0, false
	}
	return n, true
}

// parseUint32 is ParseUint64 of which the low 32 bits are kept, as in memcached 1.6.
func parseUint32(word []byte) (uint32, bool) {
	n, ok := ParseUint64(word)
	return uint32(n), ok
}

// parseInt32 reads a signed number that must fit 32 bits.
func parseInt32(word []byte) (int32, bool) {
	n, negative, ok := magnitude(word)
	switch {
	case !ok:
		return 0, false
	case negative && n <= 1<<31:
		return int32(-int64(n)), true
	case !negative && n < 1<<31:
		return int32(n), true
	default:
		return 0, false
	}
}
