// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import "bytes"

// Scan says what NextLine found.
type Scan uint8

// The results of NextLine.
const (
	// Incomplete means that the line's end has not come yet.
	Incomplete Scan = iota
	// Complete means that there is a line.
	Complete
	// TooLong means that the line is longer than any command may be: close the connection.
	TooLong
	// LongGet means that the line is longer than others may be, has not ended, and is a get.
	LongGet
)

// NextLine finds the first line in buf. The line comes without its end, \r\n or a bare \n, and stops at a
// zero byte; consumed is how much of buf it took. The first scanned bytes are known to hold no line end.
func NextLine(buf []byte, scanned int) (line []byte, consumed int, result Scan) {
	end := bytes.IndexByte(buf[scanned:], '\n') + scanned
	if end < scanned {
		switch {
		case len(buf) <= MaxLineLen:
			return nil, 0, Incomplete
		case isLongGet(buf):
			return nil, 0, LongGet
		default:
			return nil, 0, TooLong
		}
	}
	line = buf[:end]
	if end > 1 && line[end-1] == '\r' {
		line = line[:end-1]
	}
	if i := bytes.IndexByte(line, 0); i >= 0 {
		line = line[:i]
	}
	return line, end + 1, Complete
}

// isLongGet tells whether an unfinished line is a get with many keys.
func isLongGet(buf []byte) bool {
	const maxLeadingSpaces = 100
	trimmed := bytes.TrimLeft(buf, " ")
	if len(buf)-len(trimmed) > maxLeadingSpaces {
		return false
	}
	return bytes.HasPrefix(trimmed, []byte("get ")) || bytes.HasPrefix(trimmed, []byte("gets "))
}

// Protocols that LooksForeign names.
const (
	// ProtocolHTTP is HTTP, 1.x by its verbs and 2 by its preface.
	ProtocolHTTP = "http"
	// ProtocolTLS is a TLS ClientHello on a plain port.
	ProtocolTLS = "tls"
	// ProtocolProxy is the PROXY protocol of load balancers, version 1 or 2.
	ProtocolProxy = "proxy"
	// ProtocolSSH is SSH.
	ProtocolSSH = "ssh"
	// ProtocolBinary is memcached's binary protocol.
	ProtocolBinary = "binary"
)

// foreignPrefixes start lines that no memcached client sends: its commands are all in lower case.
var foreignPrefixes = []struct {
	prefix, protocol string
}{
	{"GET ", ProtocolHTTP}, {"POST ", ProtocolHTTP}, {"PUT ", ProtocolHTTP}, {"HEAD ", ProtocolHTTP},
	{"DELETE ", ProtocolHTTP}, {"OPTIONS ", ProtocolHTTP}, {"PATCH ", ProtocolHTTP}, {"TRACE ", ProtocolHTTP},
	{"CONNECT ", ProtocolHTTP}, {"PRI * HTTP/", ProtocolHTTP}, {"HTTP/", ProtocolHTTP},
	{"Host: ", ProtocolHTTP},
	{"PROXY ", ProtocolProxy}, {"SSH-", ProtocolSSH},
}

// LooksForeign names the protocol whose first bytes stand at the start of a line, or returns "".
// The binary ones are looked for at the start of a connection alone.
func LooksForeign(buf []byte, connectionStart bool) string {
	if len(buf) == 0 {
		return ""
	}
	if connectionStart {
		switch {
		case buf[0] == 0x80:
			return ProtocolBinary
		case len(buf) > 1 && buf[0] == 0x16 && buf[1] == 0x03:
			return ProtocolTLS
		case bytes.HasPrefix(buf, []byte("\r\n\r\n\x00\r\nQUIT\n")):
			return ProtocolProxy
		}
	}
	if buf[0] < 'A' || buf[0] > 'Z' {
		return ""
	}
	for _, f := range foreignPrefixes {
		if len(buf) >= len(f.prefix) && string(buf[:len(f.prefix)]) == f.prefix {
			return f.protocol
		}
	}
	return ""
}
