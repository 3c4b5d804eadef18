// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"unsafe"
)

// Bits of an item. The upper half stands in a byte of its own, in items that need it.
const (
	bitDead    uint16 = 1 << iota // the record was replaced, removed or moved
	bitFetched                    // an item that was read since it was stored
	bitStale                      // an item that was marked as no longer true
	bitWinSent                    // an item that somebody was told to make anew
	bitExp                        // an item with room for an expiry
	bitFlags                      // an item with client flags other than 0
	bitSlack                      // an item with unused room behind it
	bitMore                       // an item with the upper half
	bitCAS                        // an item with a CAS of its own besides its version
	bitBinary                     // an item whose key was given in base64

	// bitsState are the bits that belong to the item rather than to the shape of its record.
	bitsState = bitFetched | bitStale | bitWinSent | bitBinary
	// bitsUpper is the upper half.
	bitsUpper = bitCAS | bitBinary
)

// header starts every item in a segment. All numbers are little-endian, and stand where they stand: nothing
// is aligned.
//
//	 0  klen     1
//	 1  bits     1  the lower half
//	 2  length   2  of the part of the value that stands here; the topmost bit tells of a chain
//	 4  version  4  above the base of the unit
//	 8  seen     3  last access in seconds after the birth of the unit
//	11  [upper half of bits 1] [exp 4] [flags 4] [cas 8] [chain 10] | key | value | slack
//
// exp is the expiry in seconds since the epoch, or 0 for never. The version is unique and rising; it tells
// what was stored before a flush, so that it must be the engine's own, and it is the CAS where no client
// chose another. A chain is the first fragment and the length of the whole value.
type header [headerSize]byte

// fragment starts every further piece of a large value.
//
//	 0  255   1  no key is as long
//	 1  bits  1
//	 2  size  2  bytes of value in it
//	 4  prev  6  the fragment before it, or the item
//	10  next  6  the fragment after it, or 0
//	16  owner 8  hash of the key
type fragment [fragmentSize]byte

const (
	headerSize   = 11
	fragmentSize = 24
	upperSize    = 1
	expSize      = 4
	flagsSize    = 4
	casSize      = 8
	chainSize    = 10

	fragmentMark = 0xff
	chainMark    = 1 << 15
	maxSize      = chainMark - 1 // of what stands in one record of a value

	// versionSpan is how many versions the records of one unit tell apart, and versionPast how many of them
	// were given out before the unit was opened. An item that is to move where its version is too old is
	// evicted. versionMargin is more than can be given out during one operation.
	versionSpan   = 1 << 32
	versionPast   = 3 << 30
	versionMargin = 1 << 28
	// seenSpan is the same for the second of the last access, which is the nearest that can be told.
	seenSpan = 1 << 24
	seenPast = 1 << 23

	// unsplitSize is the size up to which a record is not split to fill the end of a segment.
	unsplitSize = 1 << 10
	// minPiece is the least room at the end of a segment that is worth a piece.
	minPiece = 256
	// longSlack stands in front of slack that is longer than a byte can tell.
	longSlack = 0xff
	maxSlack  = 1 << 12
)

var le = binary.LittleEndian

func (h *header) at(offset uint32) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(h), offset) }

func (h *header) bytes(offset, n uint32) []byte { return unsafe.Slice((*byte)(h.at(offset)), n) }

func (h *header) upper() uint16 { return uint16(*(*uint8)(h.at(headerSize))) << 8 }

// has tells whether one of some bits is set, all of the same half.
func (h *header) has(bits uint16) bool {
	if bits&bitsUpper != 0 {
		return h[1]&uint8(bitMore) != 0 && h.upper()&bits != 0
	}
	return h[1]&uint8(bits) != 0
}

// state are the bits that another record of the same item has too.
func (h *header) state() uint16 {
	bits := uint16(h[1])
	if h.has(bitMore) {
		bits |= h.upper()
	}
	return bits & bitsState
}

// set and unset are for bits of the lower half.
func (h *header) set(bits uint16) { h[1] |= uint8(bits) }

func (h *header) unset(bits uint16) { h[1] &^= uint8(bits) }

func (h *header) isFragment() bool { return h[0] == fragmentMark }

func (h *header) isChain() bool { return h[3]&(chainMark>>8) != 0 }

func (h *header) klen() uint32 { return uint32(h[0]) }

// size is the length of the part of the value that stands in the item's own record.
func (h *header) size() uint32 { return uint32(le.Uint16(h[2:])) &^ chainMark }

// vlen is the length of the value, fragments included.
func (h *header) vlen() uint32 {
	if h.isChain() {
		return le.Uint32(h.bytes(h.chainOffset()+6, 4))
	}
	return h.size()
}

func (h *header) expOffset() uint32 { return headerSize + uint32(h[1]>>7)*upperSize }

func (h *header) flagsOffset() uint32 {
	n := h.expOffset()
	if h.has(bitExp) {
		n += expSize
	}
	return n
}

func (h *header) casOffset() uint32 {
	n := h.flagsOffset()
	if h.has(bitFlags) {
		n += flagsSize
	}
	return n
}

func (h *header) chainOffset() uint32 {
	n := h.casOffset()
	if h.has(bitCAS) {
		n += casSize
	}
	return n
}

func (h *header) keyOffset() uint32 { return h.chainOffset() + uint32(h[3]>>7)*chainSize }

func (h *header) valueOffset() uint32 { return h.keyOffset() + h.klen() }

func (h *header) exp() uint32 {
	if !h.has(bitExp) {
		return 0
	}
	return le.Uint32(h.bytes(h.expOffset(), expSize))
}

// setExp needs bitExp, or no expiry.
func (h *header) setExp(exp uint32) {
	if h.has(bitExp) {
		le.PutUint32(h.bytes(h.expOffset(), expSize), exp)
	}
}

func (h *header) flags() uint32 {
	if !h.has(bitFlags) {
		return 0
	}
	return le.Uint32(h.bytes(h.flagsOffset(), flagsSize))
}

func (h *header) key() []byte { return h.bytes(h.keyOffset(), h.klen()) }

// inline is the part of the value that stands in the item's own record.
func (h *header) inline() []byte { return h.bytes(h.valueOffset(), h.size()) }

// chain is the first fragment of an item with a chain.
func (h *header) chain() ref { return getRef(h.bytes(h.chainOffset(), 6)) }

func (h *header) setChain(r ref) { putRef(h.bytes(h.chainOffset(), 6), r) }

// slack is the unused room behind an item.
func (h *header) slack() uint32 {
	if !h.has(bitSlack) {
		return 0
	}
	end := h.valueOffset() + h.size()
	if n := *(*uint8)(h.at(end)); n != longSlack {
		return uint32(n)
	}
	return uint32(le.Uint16(h.bytes(end+1, 2)))
}

func (h *header) setSlack(n uint32) {
	end := h.valueOffset() + h.size()
	switch {
	case n == 0:
		h.unset(bitSlack)
		return
	case n < longSlack:
		*(*uint8)(h.at(end)) = uint8(n)
	default:
		*(*uint8)(h.at(end)) = longSlack
		le.PutUint16(h.bytes(end+1, 2), uint16(n))
	}
	h.set(bitSlack)
}

func getRef(b []byte) ref { return ref(le.Uint32(b)) | ref(le.Uint16(b[4:]))<<32 }

func putRef(b []byte, r ref) {
	le.PutUint32(b, uint32(r))
	le.PutUint16(b[4:], uint16(r>>32))
}

func (f *fragment) isDead() bool      { return f[1]&uint8(bitDead) != 0 }
func (f *fragment) size() uint32      { return uint32(le.Uint16(f[2:])) }
func (f *fragment) prev() ref         { return getRef(f[4:]) }
func (f *fragment) setPrev(r ref)     { putRef(f[4:], r) }
func (f *fragment) next() ref         { return getRef(f[10:]) }
func (f *fragment) setNext(r ref)     { putRef(f[10:], r) }
func (f *fragment) owner() uint64     { return le.Uint64(f[16:]) }
func (f *fragment) setOwner(h uint64) { le.PutUint64(f[16:], h) }

func (f *fragment) init(size uint32, prev ref, owner uint64) {
	*f = fragment{fragmentMark}
	le.PutUint16(f[2:], uint16(size))
	f.setPrev(prev)
	f.setOwner(owner)
}

// align rounds the size of a record up to what refs can tell apart.
func (a *arena) align(n uint32) uint32 {
	mask := uint32(1)<<a.grain - 1
	return (n + mask) &^ mask
}

func (a *arena) header(r ref) *header {
	if a.lazy != nil {
		a.verifyAt(r)
	}
	return (*header)(unsafe.Add(a.base, r))
}

func (a *arena) fragment(r ref) *fragment {
	if a.lazy != nil {
		a.verifyAt(r)
	}
	return (*fragment)(unsafe.Add(a.base, r))
}

// fragmentValue is the piece of a value in a fragment.
func (a *arena) fragmentValue(r ref) []byte { return a.bytes(r+fragmentSize, a.fragment(r).size()) }

// setNext makes a fragment follow the item or fragment at r.
func (a *arena) setNext(r, next ref) {
	if h := a.header(r); h.isFragment() {
		a.fragment(r).setNext(next)
	} else {
		h.setChain(next)
	}
}

// version is unique and rises with everything that is stored or changed.
func (a *arena) version(r ref, h *header) uint64 {
	return a.desc(a.unitOf(r)).base + uint64(le.Uint32(h[4:]))
}

// setVersion needs a version within the span of the unit.
func (a *arena) setVersion(r ref, h *header, version uint64) {
	le.PutUint32(h[4:], uint32(version-a.desc(a.unitOf(r)).base))
}

// takes tells whether records of a unit can have the next versions.
func (d *unitDesc) takes(last uint64) bool { return last-d.base < versionSpan-versionMargin }

// cas is the item's CAS as clients see it.
func (a *arena) cas(r ref, h *header) uint64 {
	if !h.has(bitCAS) {
		return a.version(r, h)
	}
	return le.Uint64(h.bytes(h.casOffset(), casSize))
}

// setCAS sets version and CAS. A CAS other than the version needs bitCAS.
func (a *arena) setCAS(r ref, h *header, version, cas uint64) {
	a.setVersion(r, h, version)
	if h.has(bitCAS) {
		le.PutUint64(h.bytes(h.casOffset(), casSize), cas)
	}
}

// seen is the last access in seconds since the epoch.
func (a *arena) seen(r ref, h *header) uint32 {
	return a.desc(a.unitOf(r)).born + (uint32(le.Uint16(h[8:])) | uint32(h[10])<<16)
}

func (a *arena) setSeen(r ref, h *header, seen uint32) {
	born := a.desc(a.unitOf(r)).born
	n := min(max(seen, born)-born, seenSpan-1)
	if low, high := uint16(n), uint8(n>>16); le.Uint16(h[8:]) != low || h[10] != high {
		le.PutUint16(h[8:], low)
		h[10] = high
	}
}

// recordSize is the room that the item or fragment at r takes in its segment.
func (a *arena) recordSize(r ref) uint32 {
	h := a.header(r)
	if h.isFragment() {
		return a.align(fragmentSize + a.fragment(r).size())
	}
	return a.align(h.valueOffset() + h.size() + h.slack())
}

// itemSize is the item's size as limits and statistics count it.
func (h *header) itemSize() int64 {
	return int64(ItemSize(int(h.klen()), int(h.vlen()), h.flags()))
}
