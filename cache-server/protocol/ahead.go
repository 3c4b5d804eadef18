// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"encoding/binary"
)

// NextKeys guesses the first keys of the requests at the start of in, as many as keys has room for, so that a server
// can have their items brought near. It returns how many it found, and how many bytes it looked at. A guess decides
// nothing: whoever executes the requests reads them anew.
func NextKeys(in []byte, isBinary bool, keys [][]byte) (n, looked int) {
	for n < len(keys) && looked < len(in) {
		var key []byte
		size := 0
		if isBinary {
			key, size = binaryKey(in[looked:])
		} else {
			key, size = textKey(in[looked:])
		}
		if size == 0 {
			return n, looked
		}
		if len(key) > 0 && len(key) <= MaxKeyLen {
			keys[n] = key
			n++
		}
		looked += size
	}
	return n, looked
}

// binaryKey is the key of the binary request at the start of in, and the length of that request. 0 means that the
// key has not come yet.
func binaryKey(in []byte) (key []byte, size int) {
	if len(in) < BinaryHeaderLen {
		return nil, 0
	}
	from := BinaryHeaderLen + int(in[4])
	to := from + int(binary.BigEndian.Uint16(in[2:]))
	if to > len(in) {
		return nil, 0
	}
	return in[from:to], BinaryHeaderLen + int(binary.BigEndian.Uint32(in[8:]))
}

// textKey is the second word of the line at the start of in, and the length of the line with its data block. 0 means
// that the line has not come yet.
func textKey(in []byte) (key []byte, size int) {
	end := bytes.IndexByte(in, '\n')
	if end < 0 {
		return nil, 0
	}
	line := in[:end]
	if end > 0 && line[end-1] == '\r' {
		line = line[:end-1]
	}
	name, rest := NextToken(line)
	key, rest = NextToken(rest)
	skip := blockWord(name)
	if skip < 0 {
		return key, end + 1
	}
	var word []byte
	for range skip + 1 {
		word, rest = NextToken(rest)
	}
	block, ok := parseUint32(word)
	if !ok {
		return key, end + 1
	}
	return key, end + 1 + int(block) + len("\r\n")
}

// blockWord is how many words stand between the key of a command and the length of its data block, or -1.
func blockWord(name []byte) int {
	switch string(name) {
	case "ms":
		return 0
	case "set", "add", "replace", "append", "prepend", "cas":
		return 2
	default:
		return -1
	}
}
