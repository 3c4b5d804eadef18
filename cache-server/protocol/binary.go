// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import "encoding/binary"

// Sizes and marks of the binary protocol.
const (
	// BinaryMagic is the first byte of a binary request.
	BinaryMagic = 0x80
	// BinaryReplyMagic is the first byte of a binary reply.
	BinaryReplyMagic = 0x81
	// BinaryHeaderLen is the length in bytes of the header of requests and replies.
	BinaryHeaderLen = 24
	// BinaryFlagsLen is the length in bytes of the extras of a reply that has flags.
	BinaryFlagsLen = 4
	// MaxBinaryBody is the longest body in bytes that any request may have.
	MaxBinaryBody = 1 << 30
	// MaxMechanismLen is the longest name of a SASL mechanism in bytes.
	MaxMechanismLen = 32
	// NoCreate is the expiry in seconds with which a binary incr or decr does not create what is missing.
	NoCreate = 1<<32 - 1
)

// Opcode names a binary request.
type Opcode uint8

// The opcodes of the binary protocol. Names that end in Q belong to the quiet forms, those that end in K to
// forms whose reply has the key.
const (
	OpGet           Opcode = 0x00
	OpSet           Opcode = 0x01
	OpAdd           Opcode = 0x02
	OpReplace       Opcode = 0x03
	OpDelete        Opcode = 0x04
	OpIncrement     Opcode = 0x05
	OpDecrement     Opcode = 0x06
	OpQuit          Opcode = 0x07
	OpFlush         Opcode = 0x08
	OpGetQ          Opcode = 0x09
	OpNoop          Opcode = 0x0a
	OpVersion       Opcode = 0x0b
	OpGetK          Opcode = 0x0c
	OpGetKQ         Opcode = 0x0d
	OpAppend        Opcode = 0x0e
	OpPrepend       Opcode = 0x0f
	OpStat          Opcode = 0x10
	OpSetQ          Opcode = 0x11
	OpAddQ          Opcode = 0x12
	OpReplaceQ      Opcode = 0x13
	OpDeleteQ       Opcode = 0x14
	OpIncrementQ    Opcode = 0x15
	OpDecrementQ    Opcode = 0x16
	OpQuitQ         Opcode = 0x17
	OpFlushQ        Opcode = 0x18
	OpAppendQ       Opcode = 0x19
	OpPrependQ      Opcode = 0x1a
	OpTouch         Opcode = 0x1c
	OpGat           Opcode = 0x1d
	OpGatQ          Opcode = 0x1e
	OpSASLList      Opcode = 0x20
	OpSASLAuth      Opcode = 0x21
	OpSASLStep      Opcode = 0x22
	OpGatK          Opcode = 0x23
	OpGatKQ         Opcode = 0x24
	OpConfigGet     Opcode = 0x60
	OpConfigSet     Opcode = 0x64
	OpConfigDelete  Opcode = 0x66
	opcodeTableSize        = 0x67
)

// Status is the status of a binary reply.
type Status uint16

// The statuses of binary replies.
const (
	StatusOK             Status = 0x00
	StatusNotFound       Status = 0x01
	StatusExists         Status = 0x02
	StatusTooLarge       Status = 0x03
	StatusInvalid        Status = 0x04
	StatusNotStored      Status = 0x05
	StatusNonNumeric     Status = 0x06
	StatusAuthError      Status = 0x20
	StatusAuthContinue   Status = 0x21
	StatusUnknownCommand Status = 0x81
	StatusOutOfMemory    Status = 0x82
)

// Binary is what only binary requests have.
type Binary struct {
	// On tells that the request is a binary one.
	On bool
	// Opcode is the opcode as the client sent it.
	Opcode Opcode
	// WithKey asks for the key in the reply.
	WithKey bool
	// Problem is the status to refuse a malformed request with, before the connection is closed.
	// StatusOK means well-formed.
	Problem Status
	// Opaque comes back in the reply.
	Opaque uint32
	// Exptime is the expiry in seconds as the client wrote it, see BinaryDeadline.
	Exptime uint32
	// Initial is what Incr and Decr store if there is nothing and Exptime is not NoCreate.
	Initial uint64
}

// shape says which lengths a request may have.
type shape struct {
	command  Command
	extras   uint8 // how long the extras must be
	optional bool  // the extras may be missing
	key      bool  // there must be a key
	noKey    bool  // there must be none
	value    bool  // something may follow the key
	quiet    bool
	withKey  bool
}

// shapes are the known opcodes. What is not listed is BinaryUnknown.
var shapes = [opcodeTableSize]shape{
	OpGet:          {command: Get, key: true},
	OpGetQ:         {command: Get, key: true, quiet: true},
	OpGetK:         {command: Get, key: true, withKey: true},
	OpGetKQ:        {command: Get, key: true, withKey: true, quiet: true},
	OpGat:          {command: Gat, key: true, extras: 4, value: true},
	OpGatQ:         {command: Gat, key: true, extras: 4, value: true, quiet: true},
	OpGatK:         {command: Gat, key: true, extras: 4, value: true, withKey: true},
	OpGatKQ:        {command: Gat, key: true, extras: 4, value: true, withKey: true, quiet: true},
	OpTouch:        {command: Touch, key: true, extras: 4, value: true},
	OpSet:          {command: Set, key: true, extras: 8, value: true},
	OpSetQ:         {command: Set, key: true, extras: 8, value: true, quiet: true},
	OpAdd:          {command: Add, key: true, extras: 8, value: true},
	OpAddQ:         {command: Add, key: true, extras: 8, value: true, quiet: true},
	OpReplace:      {command: Replace, key: true, extras: 8, value: true},
	OpReplaceQ:     {command: Replace, key: true, extras: 8, value: true, quiet: true},
	OpAppend:       {command: Append, key: true, value: true},
	OpAppendQ:      {command: Append, key: true, value: true, quiet: true},
	OpPrepend:      {command: Prepend, key: true, value: true},
	OpPrependQ:     {command: Prepend, key: true, value: true, quiet: true},
	OpDelete:       {command: Delete, key: true},
	OpDeleteQ:      {command: Delete, key: true, quiet: true},
	OpIncrement:    {command: Incr, key: true, extras: 20},
	OpIncrementQ:   {command: Incr, key: true, extras: 20, quiet: true},
	OpDecrement:    {command: Decr, key: true, extras: 20},
	OpDecrementQ:   {command: Decr, key: true, extras: 20, quiet: true},
	OpFlush:        {command: FlushAll, noKey: true, extras: 4, optional: true},
	OpFlushQ:       {command: FlushAll, noKey: true, extras: 4, optional: true, quiet: true},
	OpQuit:         {command: Quit, noKey: true},
	OpQuitQ:        {command: Quit, noKey: true, quiet: true},
	OpNoop:         {command: Noop, noKey: true},
	OpVersion:      {command: Version, noKey: true},
	OpStat:         {command: Stats, value: true},
	OpSASLList:     {command: SASLList, noKey: true},
	OpSASLAuth:     {command: SASLAuth, key: true, value: true},
	OpSASLStep:     {command: SASLStep, key: true, value: true},
	OpConfigGet:    {command: ConfigGet, key: true},
	OpConfigSet:    {command: ConfigSet, key: true, extras: 4, optional: true, value: true},
	OpConfigDelete: {command: ConfigDelete, key: true},
}

// lengths are the lengths that a header tells, none of them trusted.
type lengths struct {
	extras, key, body uint32
}

// ParseBinary reads the request at the start of buf into r, header, extras and key; what follows the key is
// r.Size bytes that are not looked at. consumed is 0 while something is missing, and ok is false if these
// are no binary requests: close the connection. It never fails otherwise: what is malformed says so in
// r.Binary.Problem.
func ParseBinary(buf []byte, r *Request) (consumed int, ok bool) {
	if len(buf) > 0 && buf[0] != BinaryMagic {
		return 0, false
	}
	if len(buf) < BinaryHeaderLen {
		return 0, true
	}
	*r = Request{}
	b := &r.Binary
	b.On = true
	b.Opcode = Opcode(buf[1])
	b.Opaque = binary.BigEndian.Uint32(buf[12:])
	r.CAS = binary.BigEndian.Uint64(buf[16:])
	n := lengths{
		key:    uint32(binary.BigEndian.Uint16(buf[2:])),
		extras: uint32(buf[4]),
		body:   binary.BigEndian.Uint32(buf[8:]),
	}
	if b.Problem = n.problem(); b.Problem != StatusOK {
		return n.head(buf)
	}
	head := BinaryHeaderLen + int(n.extras+n.key)
	if len(buf) < head {
		return 0, true
	}
	var s shape
	if b.Opcode < opcodeTableSize {
		s = shapes[b.Opcode]
	}
	r.Key = buf[head-int(n.key) : head]
	r.Size = int(n.body - n.key - n.extras)
	r.Command, r.NoReply, b.WithKey = s.command, s.quiet, s.withKey
	switch {
	case s.command == Unknown:
		r.Command = BinaryUnknown
	case !s.fits(n):
		b.Problem = StatusInvalid
	default:
		r.extras(buf[BinaryHeaderLen : head-int(n.key)])
	}
	return head, true
}

// problem is what a header is refused for whatever it asks for.
func (n lengths) problem() Status {
	switch {
	case n.key+n.extras > n.body:
		return StatusUnknownCommand // this is how memcached says it
	case n.body > MaxBinaryBody:
		return StatusInvalid
	case n.key > MaxKeyLen:
		return StatusInvalid
	default:
		return StatusOK
	}
}

// head waits for extras and key of a request that will be refused, as memcached does: a client that still
// writes might not see the refusal. What would not fit a buffer is not waited for.
func (n lengths) head(buf []byte) (consumed int, ok bool) {
	const most = 8 << 10
	head := BinaryHeaderLen + int(n.extras+n.key)
	if head > most {
		return min(head, len(buf)), true
	}
	if len(buf) < head {
		return 0, true
	}
	return head, true
}

// fits tells whether a request has the lengths that its opcode asks for.
func (s *shape) fits(n lengths) bool {
	switch {
	case n.extras != uint32(s.extras) && (n.extras != 0 || !s.optional):
		return false
	case s.key && n.key == 0 || s.noKey && n.key != 0:
		return false
	default:
		return s.value || n.key+n.extras == n.body
	}
}

// extras reads the extras of a request whose lengths are right.
func (r *Request) extras(extras []byte) {
	b := &r.Binary
	switch len(extras) {
	case 4: // expiry
		b.Exptime = binary.BigEndian.Uint32(extras)
	case 8: // flags, expiry
		r.Flags = binary.BigEndian.Uint32(extras)
		b.Exptime = binary.BigEndian.Uint32(extras[4:])
	case 20: // delta, initial value, expiry
		r.Number = binary.BigEndian.Uint64(extras)
		b.Initial = binary.BigEndian.Uint64(extras[8:])
		b.Exptime = binary.BigEndian.Uint32(extras[16:])
	}
}

// BlockSize is how many bytes follow the line, or the key of a binary request, before the next request.
func (r *Request) BlockSize() int {
	if r.Binary.On {
		return r.Size
	}
	return r.Size + len("\r\n")
}

// BinaryDeadline is Deadline for binary requests, whose expiry has no sign.
func BinaryDeadline(exptime uint32, now int64) int64 {
	switch {
	case exptime == 0:
		return 0
	case exptime > MaxRelativeExpiry:
		return int64(exptime)
	default:
		return now + int64(exptime)
	}
}
