// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"bytes"
	"strings"
)

// kind is one protocol: how its commands are made, and how replies are read.
type kind struct {
	name string
	// open adds the commands that bring the stream's keys into a known state.
	open func(*generator)
	// command adds one command, which may be nonsense.
	command func(*generator)
	// close adds the commands that ask for the CAS of every key, so that what follows can use them.
	close func(*generator)
	// farewell ends a connection: enough to end whatever is still open, then a quit.
	farewell []byte
	replies  func(stream []byte) []reply
	// cutOff tells whether a server closed the connection over what it was sent, in which case it may have thrown away
	// replies to what came in the same batch. Without it no stream makes a server do so.
	cutOff func([]reply) bool
}

var (
	textKind = kind{name: "text", open: openText, command: textCommand, close: closeText, farewell: textFarewell,
		replies: parseText}
	metaKind = kind{name: "meta", open: openMeta, command: metaCommand, close: closeMeta, farewell: textFarewell,
		replies: parseText}
	binKind = kind{name: "binary", open: openBinary, command: binaryCommand, close: closeBinary,
		farewell: binaryFarewell, replies: parseBinary, cutOff: withoutQuit}
)

// textFarewell holds enough lines of two spaces to end a data block that is still open, then a word that closes the
// connection. Closing our half at once would not do: memcached may then throw away what it has just read.
var textFarewell = []byte(strings.Repeat("  \r\n", 60) + "quit\r\n")

// binaryFarewell ends a body that is still open as well; a server that has lost its place closes then.
var binaryFarewell = append(bytes.Repeat(packet{op: opNoop}.header(0), 60), packet{op: opQuit}.header(0)...)
