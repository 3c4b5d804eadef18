// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"encoding/binary"
	"fmt"
)

// Opcodes of the binary protocol.
const (
	opGet        = 0x00
	opSet        = 0x01
	opAdd        = 0x02
	opReplace    = 0x03
	opDelete     = 0x04
	opIncrement  = 0x05
	opDecrement  = 0x06
	opQuit       = 0x07
	opFlush      = 0x08
	opGetQ       = 0x09
	opNoop       = 0x0a
	opVersion    = 0x0b
	opGetK       = 0x0c
	opGetKQ      = 0x0d
	opAppend     = 0x0e
	opPrepend    = 0x0f
	opStat       = 0x10
	opSetQ       = 0x11
	opAddQ       = 0x12
	opReplaceQ   = 0x13
	opDeleteQ    = 0x14
	opIncrementQ = 0x15
	opDecrementQ = 0x16
	opFlushQ     = 0x18
	opAppendQ    = 0x19
	opPrependQ   = 0x1a
	opVerbosity  = 0x1b
	opTouch      = 0x1c
	opGAT        = 0x1d
	opGATQ       = 0x1e
	opGATK       = 0x23
	opGATKQ      = 0x24
)

const (
	headerSize    = 24
	magicRequest  = 0x80
	magicResponse = 0x81
)

// packet is a request of the binary protocol. The lengths in its header are those of its parts, plus what is wrong.
type packet struct {
	magic, op, dataType byte
	vbucket             uint16
	opaque              uint32
	extras, key, value  string

	wrongKey, wrongExtras, wrongBody int
}

// touchExtras is how long the extras are of what touches.
const touchExtras = 4

// claimed is how long extras and key are together by what the header says of each.
func (p packet) claimed() int {
	return len(p.key) + p.wrongKey + int(byte(len(p.extras)+p.wrongExtras))
}

// header is what goes before extras, key and value.
func (p packet) header(cas uint64) []byte {
	b := make([]byte, 0, headerSize)
	magic := p.magic
	if magic == 0 {
		magic = magicRequest
	}
	b = append(b, magic, p.op)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.key)+p.wrongKey))
	b = append(b, byte(len(p.extras)+p.wrongExtras), p.dataType)
	b = binary.BigEndian.AppendUint16(b, p.vbucket)
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.extras)+len(p.key)+len(p.value)+p.wrongBody))
	b = binary.BigEndian.AppendUint32(b, p.opaque)
	return binary.BigEndian.AppendUint64(b, cas)
}

// parseBinary splits what a server has sent in the binary protocol.
func parseBinary(stream []byte) []reply {
	var replies []reply
	for len(stream) > 0 {
		if len(stream) < headerSize || stream[0] != magicResponse {
			return append(replies, reply{text: fmt.Sprintf("unfinished: %x", stream[:min(len(stream), 100)])})
		}
		size := int(binary.BigEndian.Uint32(stream[8:]))
		if headerSize+size > len(stream) {
			return append(replies, reply{text: fmt.Sprintf("unfinished: %x", stream[:headerSize])})
		}
		replies = append(replies, parsePacket(stream[:headerSize], stream[headerSize:headerSize+size]))
		stream = stream[headerSize+size:]
	}
	return replies
}

func parsePacket(header, body []byte) reply {
	op, cas := header[1], binary.BigEndian.Uint64(header[16:])
	keyLen, extrasLen := int(binary.BigEndian.Uint16(header[2:])), int(header[4])
	if op == opVersion && header[6] == 0 && header[7] == 0 {
		return reply{text: "version"}
	}
	r := reply{text: fmt.Sprintf("op %#02x key %d extras %d type %d status %#x opaque %d body %q",
		op, keyLen, extrasLen, header[5], binary.BigEndian.Uint16(header[6:]), binary.BigEndian.Uint32(header[12:]), body)}
	r.quit = op == opQuit && header[6] == 0 && header[7] == 0
	switch {
	case cas == 0 || cas >= literalCAS:
		r.text += fmt.Sprintf(" CAS %d", cas)
	default:
		r.text += " CAS"
		r.cas = []uint64{cas}
	}
	if (op == opGetK || op == opGetKQ) && extrasLen+keyLen <= len(body) && len(r.cas) > 0 {
		r.key = string(body[extrasLen : extrasLen+keyLen])
	}
	return r
}

// withoutQuit tells that the last reply is not the one to quit.
func withoutQuit(replies []reply) bool {
	return len(replies) == 0 || !replies[len(replies)-1].quit
}
