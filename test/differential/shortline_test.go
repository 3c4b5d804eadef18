// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What 1.6.18 and 1.6.45, and with it the cache server, say of one and the same line.
const (
	olderRefusal = "ERROR"
	newerRefusal = "CLIENT_ERROR bad command line format"
)

// refusedInOtherWords tells whether a line, its end included, is one that 1.6.18 refuses in other words than 1.6.45:
// less than four bytes, a meta command without a key, or a cas that lacks a word. The listed differences are "short
// lines", "words of meta commands" and "values of refused stores".
func refusedInOtherWords(line []byte) bool {
	if len(line) < 4 {
		return true
	}
	text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	words := slices.DeleteFunc(bytes.Split(text, []byte(" ")), func(word []byte) bool { return len(word) == 0 })
	switch {
	case len(words) == 1 && bytes.HasPrefix(line, words[0]):
		return slices.Contains([]string{"mg", "ms", "md", "ma"}, string(words[0]))
	case len(words) == 5:
		return string(words[0]) == "cas"
	}
	return false
}

// otherWords is how many lines of a request are refused in other words. It does not know which lines are values, so
// that it may say too many, but never too few.
func otherWords(request []byte) (n int) {
	rest := request
	for line := range bytes.Lines(request) {
		rest = rest[len(line):]
		if refusedInOtherWords(line) || restIsShort(line, rest) {
			n++
		}
	}
	return n
}

// restIsShort tells whether a line may be a command whose value is longer than it says, by so little that what is left
// of the value's last line is a short line. A value that begins a line of its own is one in any case.
func restIsShort(command, behind []byte) bool {
	for word := range bytes.FieldsSeq(command) {
		size, err := strconv.Atoi(string(word))
		end := size + len("\r\n")
		if err != nil || size < 0 || end >= len(behind) || behind[end-1] == '\n' {
			continue
		}
		if line, _, whole := bytes.Cut(behind[end:], []byte("\n")); whole && len(line) < 3 {
			return true
		}
	}
	return false
}

// TestLinesThatAreRefusedInOtherWords asks both sides for each of the lines, and for their neighbours.
func TestLinesThatAreRefusedInOtherWords(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	for _, line := range []string{
		"\n", "\r\n", " \r\n", "a\r\n", "ab\n", "abc\n", "\x00\n", "\t\t\n", "\r\r\n", "  \r\n", "   \n", "ab\r\n",
		"mz\n", "mg\r\n", "mg \n", "ms  \r\n", "md\r\n", "ma \r\n", " mg\r\n", "mgx\r\n", "MG \r\n",
		"get\r\n", "gat\r\n", "set\r\n", "set a\r\n", "add a 0 0\r\n", "cas a\r\n", "cas a 0 0\r\n", "cas a 0 0 0\r\n",
		"incr a\r\n", "touch a\r\n", "delete\r\n", "verbosity\r\n", "slabs a x\r\n", "word word\r\n",
	} {
		want := [2]string{olderRefusal, olderRefusal}
		if refusedInOtherWords([]byte(line)) {
			want[1] = newerRefusal
		}
		for side, addr := range p.addrs {
			got, err := exchange(addr, [][]byte{[]byte(line)}, []byte("\r\nquit\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			// The empty line is answered as well, but where 1.6.45 throws it away as the value of a cas.
			if first, _, _ := strings.Cut(string(got), "\r\n"); first != want[side] && (side == 1 || !p.newer) {
				t.Errorf("%q: %s says %q, want %s", line, names[side], got, want[side])
			}
		}
	}
}
