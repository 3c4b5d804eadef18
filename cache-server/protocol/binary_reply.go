// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import "encoding/binary"

// text is what the body of a refusal says.
func (s Status) text() string {
	switch s {
	case StatusNotFound:
		return "Not found"
	case StatusExists:
		return "Data exists for key."
	case StatusTooLarge:
		return "Too large."
	case StatusInvalid:
		return "Invalid arguments"
	case StatusNotStored:
		return "Not stored."
	case StatusNonNumeric:
		return "Non-numeric server-side value for incr or decr"
	case StatusAuthError:
		return "Auth failure."
	case StatusUnknownCommand:
		return "Unknown command"
	case StatusOutOfMemory:
		return "Out of memory"
	default:
		return ""
	}
}

// BinaryReply is the header of a binary reply.
type BinaryReply struct {
	// Status says how the request ended.
	Status Status
	// ExtrasLen and KeyLen are how long those parts of the body are, in bytes.
	ExtrasLen, KeyLen int
	// BodyLen is how long the body is, extras and key included, in bytes.
	BodyLen int
	// CAS is the item's.
	CAS uint64
}

// PutBinaryHeader writes the header of a reply to r over the first BinaryHeaderLen bytes of dst.
func PutBinaryHeader(dst []byte, r *Request, reply BinaryReply) {
	_ = dst[BinaryHeaderLen-1]
	dst[0] = BinaryReplyMagic
	dst[1] = byte(r.Binary.Opcode)
	binary.BigEndian.PutUint16(dst[2:], uint16(reply.KeyLen))
	dst[4] = byte(reply.ExtrasLen)
	dst[5] = 0
	binary.BigEndian.PutUint16(dst[6:], uint16(reply.Status))
	binary.BigEndian.PutUint32(dst[8:], uint32(reply.BodyLen))
	binary.BigEndian.PutUint32(dst[12:], r.Binary.Opaque)
	binary.BigEndian.PutUint64(dst[16:], reply.CAS)
}

// AppendBinaryHeader appends the header of a reply to r.
func AppendBinaryHeader(dst []byte, r *Request, reply BinaryReply) []byte {
	var header [BinaryHeaderLen]byte
	PutBinaryHeader(header[:], r, reply)
	return append(dst, header[:]...)
}

// AppendBinaryOK appends the reply to what went well and has nothing more to tell than a CAS.
func AppendBinaryOK(dst []byte, r *Request, cas uint64) []byte {
	return AppendBinaryHeader(dst, r, BinaryReply{CAS: cas})
}

// AppendBinaryError appends a refusal, with memcached's words for it.
func AppendBinaryError(dst []byte, r *Request, status Status) []byte {
	return AppendBinaryText(dst, r, status, status.text())
}

// AppendBinaryText appends a reply whose body is text.
func AppendBinaryText(dst []byte, r *Request, status Status, text string) []byte {
	dst = AppendBinaryHeader(dst, r, BinaryReply{Status: status, BodyLen: len(text)})
	return append(dst, text...)
}

// AppendBinaryMiss appends the reply to a get of what is not there. It has the key if the hit had it.
func AppendBinaryMiss(dst []byte, r *Request) []byte {
	if !r.Binary.WithKey {
		return AppendBinaryError(dst, r, StatusNotFound)
	}
	dst = AppendBinaryHeader(dst, r, BinaryReply{
		Status: StatusNotFound, KeyLen: len(r.Key), BodyLen: len(r.Key),
	})
	return append(dst, r.Key...)
}

// BinaryItemLen is how many bytes of the reply to a get of r stand before the value.
func BinaryItemLen(r *Request) int {
	n := BinaryHeaderLen + BinaryFlagsLen
	if r.Binary.WithKey {
		n += len(r.Key)
	}
	return n
}

// PutBinaryItem writes what stands before a value over the first BinaryItemLen bytes of dst.
func PutBinaryItem(dst []byte, r *Request, flags uint32, size int, cas uint64) {
	reply := BinaryReply{ExtrasLen: BinaryFlagsLen, BodyLen: BinaryFlagsLen + size, CAS: cas}
	if r.Binary.WithKey {
		reply.KeyLen = len(r.Key)
		reply.BodyLen += len(r.Key)
		copy(dst[BinaryHeaderLen+BinaryFlagsLen:], r.Key)
	}
	PutBinaryHeader(dst, r, reply)
	binary.BigEndian.PutUint32(dst[BinaryHeaderLen:], flags)
}

// AppendBinaryTouched appends the reply to a touch.
func AppendBinaryTouched(dst []byte, r *Request, flags uint32, cas uint64) []byte {
	dst = AppendBinaryHeader(dst, r, BinaryReply{
		ExtrasLen: BinaryFlagsLen, BodyLen: BinaryFlagsLen, CAS: cas,
	})
	return binary.BigEndian.AppendUint32(dst, flags)
}

// AppendBinaryNumber appends the reply to incr and decr.
func AppendBinaryNumber(dst []byte, r *Request, n, cas uint64) []byte {
	dst = AppendBinaryHeader(dst, r, BinaryReply{BodyLen: 8, CAS: cas})
	return binary.BigEndian.AppendUint64(dst, n)
}

// AppendBinaryStat appends one of the replies to stat. The last one has neither name nor value.
func AppendBinaryStat(dst []byte, r *Request, name, value string) []byte {
	dst = AppendBinaryHeader(dst, r, BinaryReply{KeyLen: len(name), BodyLen: len(name) + len(value)})
	dst = append(dst, name...)
	return append(dst, value...)
}
