// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import "encoding/base64"

// sextet is what a base64 digit stands for. As in memcached, = stands for 0 and what is no digit counts for nothing.
func sextet(c byte) (value byte, ok bool) {
	switch {
	case 'A' <= c && c <= 'Z':
		return c - 'A', true
	case 'a' <= c && c <= 'z':
		return c - 'a' + 26, true
	case '0' <= c && c <= '9':
		return c - '0' + 52, true
	case c == '+':
		return 62, true
	case c == '/':
		return 63, true
	}
	return 0, c == '='
}

// DecodeKey appends the key that a base64 word stands for, and nothing if it stands for none. It takes what
// memcached takes: digits in fours, until a group with padding.
func DecodeKey(dst, word []byte) []byte {
	digits := 0
	for _, c := range word {
		if _, ok := sextet(c); ok {
			digits++
		}
	}
	if digits%4 != 0 {
		return dst
	}
	start := len(dst)
	var group uint32
	n, pads := 0, 0
	for _, c := range word {
		value, ok := sextet(c)
		if !ok {
			continue
		}
		if c == '=' {
			pads++
		}
		group = group<<6 | uint32(value)
		if n++; n < 4 {
			continue
		}
		dst = append(dst, byte(group>>16), byte(group>>8), byte(group))
		if pads > 2 {
			return dst[:start]
		}
		if pads > 0 {
			return dst[:len(dst)-pads]
		}
		group, n = 0, 0
	}
	return dst
}

// appendEncoded appends a key in base64.
func appendEncoded(dst, key []byte) []byte {
	return base64.StdEncoding.AppendEncode(dst, key)
}
