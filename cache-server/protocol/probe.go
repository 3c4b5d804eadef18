// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import "bytes"

// The line by which a probe tells its nonce: ProbeCommand, a blank, up to MaxNonce letters and digits.
const (
	// ProbeCommand begins the line.
	ProbeCommand = "memkeep-probe"
	// MaxNonce is the longest nonce.
	MaxNonce = 64
	// MaxProbeLine is the longest such line, its end included.
	MaxProbeLine = len(ProbeCommand) + 1 + MaxNonce + 2
)

// FindProbe looks at the first bytes of a connection and returns the nonce if they are a probe's whole line. more
// tells that they may still become one.
func FindProbe(buf []byte) (nonce []byte, more bool) {
	const prefix = ProbeCommand + " "
	if len(buf) <= len(prefix) {
		return nil, prefix[:len(buf)] == string(buf)
	}
	if string(buf[:len(prefix)]) != prefix {
		return nil, false
	}
	rest := buf[len(prefix):]
	end := bytes.IndexByte(rest, '\n')
	if end < 0 {
		word := bytes.TrimSuffix(rest, []byte{'\r'})
		return nil, len(word) <= MaxNonce && isAlphanumeric(word)
	}
	word := bytes.TrimSuffix(rest[:end], []byte{'\r'})
	if len(word) == 0 || len(word) > MaxNonce || !isAlphanumeric(word) {
		return nil, false
	}
	return word, false
}

func isAlphanumeric(word []byte) bool {
	for _, c := range word {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// IsHTTP tells whether a whole line is an HTTP request's first one, whatever its method: "get / HTTP/1.1" is one,
// though it reads like a get of two keys. At the start of a connection no client of memcached means that.
func IsHTTP(line []byte) bool {
	const version = " HTTP/1.1"
	if len(line) < len(version) {
		return false
	}
	tail := line[len(line)-len(version):]
	return string(tail[:len(" HTTP/")]) == " HTTP/" && isDigit(tail[6]) && tail[7] == '.' && isDigit(tail[8])
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
