// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"encoding/binary"
)

const (
	binaryHeader  = 24
	requestMagic  = 0x80
	responseMagic = 0x81

	opGet  = 0x00
	opSet  = 0x01
	opGetQ = 0x09
	opNoop = 0x0a

	statusOK       = 0
	statusNotFound = 1

	getExtras = 4 // flags, in the reply of a get
	setExtras = 8 // flags and expiry, in the request of a set
)

// binaryCodec speaks the binary protocol: GET, GETQ and NOOP, SET. Every request carries its key's number as opaque.
type binaryCodec struct {
	values *values
}

func newBinaryCodec(v *values) *binaryCodec {
	return &binaryCodec{values: v}
}

func appendHeader(dst []byte, opcode byte, key, extras, value int, opaque uint32) []byte {
	var h [binaryHeader]byte
	h[0], h[1], h[4] = requestMagic, opcode, byte(extras)
	binary.BigEndian.PutUint16(h[2:], uint16(key))
	binary.BigEndian.PutUint32(h[8:], uint32(key+extras+value))
	binary.BigEndian.PutUint32(h[12:], opaque)
	return append(dst, h[:]...)
}

func (c *binaryCodec) get(dst []byte, id uint32) []byte {
	return appendKey(appendHeader(dst, opGet, KeyLen, 0, 0, id), id)
}

func (c *binaryCodec) multiget(dst []byte, ids []uint32) []byte {
	for _, id := range ids {
		dst = appendKey(appendHeader(dst, opGetQ, KeyLen, 0, 0, id), id)
	}
	return appendHeader(dst, opNoop, 0, 0, 0, 0)
}

func (c *binaryCodec) set(dst []byte, id uint32) []byte {
	dst = appendHeader(dst, opSet, KeyLen, setExtras, c.values.size, id)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	return append(appendKey(dst, id), c.values.of(id)...)
}

func (c *binaryCodec) check(in []byte, e *expectation) (int, verdict) {
	if len(in) < binaryHeader {
		return 0, more
	}
	opcode := in[1]
	status := binary.BigEndian.Uint16(in[6:])
	body := int(binary.BigEndian.Uint32(in[8:]))
	opaque := binary.BigEndian.Uint32(in[12:])
	if in[0] != responseMagic {
		return 0, wrong
	}
	if e.kind == kindKey && (opcode == opNoop || opcode == opGetQ && opaque != e.id) {
		return 0, miss
	}
	want := [...]byte{kindGet: opGet, kindKey: opGetQ, kindEnd: opNoop, kindSet: opSet}[e.kind]
	if opcode != want || opaque != e.id {
		return 0, wrong
	}
	size := c.values.size
	switch {
	case status == statusNotFound && e.kind == kindGet && body <= size+binaryHeader:
		if len(in) < binaryHeader+body {
			return 0, more
		}
		return binaryHeader + body, miss
	case status != statusOK:
		return 0, wrong
	case e.kind == kindSet || e.kind == kindEnd:
		if body != 0 {
			return 0, wrong
		}
		return binaryHeader, done
	case body != getExtras+size || in[4] != getExtras:
		return 0, wrong
	case len(in) < binaryHeader+body:
		return 0, more
	case string(in[binaryHeader+getExtras:][:size]) != string(c.values.of(e.id)):
		return 0, wrong
	}
	return binaryHeader + body, hit
}
