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

// ParseUint64 reads a number of decimal digits and nothing else.
func ParseUint64(word []byte) (uint64, bool) {
	return parseDigits(word, 1<<64-1, maxDigits)
}

// maxDigits is how long a number of a classic command may be, leading zeros included.
const maxDigits = 20

func parseDigits(word []byte, most uint64, maxDigits int) (n uint64, ok bool) {
	if len(word) == 0 || len(word) > maxDigits {
		return 0, false
	}
	for _, c := range word {
		if c < '0' || c > '9' {
			return 0, false
		}
		digit := uint64(c - '0')
		if n > (most-digit)/10 {
			return 0, false
		}
		n = n*10 + digit
	}
	return n, true
}

// parseUint32 reads a number of decimal digits that fits 32 bits.
func parseUint32(word []byte) (uint32, bool) {
	n, ok := parseDigits(word, 1<<32-1, maxDigits)
	return uint32(n), ok
}

// parseInt32 reads a number of decimal digits, after a minus sign or none, that fits 32 bits.
func parseInt32(word []byte) (int32, bool) {
	if len(word) > 0 && word[0] == '-' {
		n, ok := parseDigits(word[1:], 1<<31, maxDigits)
		return int32(-int64(n)), ok
	}
	n, ok := parseDigits(word, 1<<31-1, maxDigits)
	return int32(n), ok
}
