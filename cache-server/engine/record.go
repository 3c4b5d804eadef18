// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "unsafe"

// Bits of a record's header.
const (
	bitDead     uint8 = 1 << iota // the record was replaced, removed or moved
	bitFragment                   // a fragment, else an item
	bitChain                      // an item whose value goes on in fragments
	bitFlags                      // an item with client flags other than 0
	bitFetched                    // an item that was read since it was stored
)

// header starts every item in a segment.
//
//	header 24 | chain 12, if bitChain | flags 4, if bitFlags | key | value | padding to 8 | slack
type header struct {
	vlen  uint32 // length of the value, fragments included
	klen  uint8
	bits  uint8
	slack uint16 // unused room behind the record, in units of 8 bytes
	exp   uint32 // expiry in seconds since the epoch; 0 never
	seen  uint32 // last access in seconds since the epoch
	cas   uint64
}

// fragment starts every further piece of a large value.
type fragment struct {
	size  uint32 // bytes of value in it
	_     uint8
	bits  uint8
	slack uint16
	prev  ref // the fragment before it, or the item
	next  ref // the fragment after it, or 0
	owner uint64
}

const (
	headerSize   = uint32(unsafe.Sizeof(header{}))
	fragmentSize = uint32(unsafe.Sizeof(fragment{}))
	chainSize    = 12
	flagsSize    = 4
	// unsplitSize is the size up to which a record is not split to fill the end of a segment.
	unsplitSize = 1 << 10
	// minPiece is the least room at the end of a segment that is worth a piece.
	minPiece = 256
)

func align8(n uint32) uint32 { return (n + 7) &^ 7 }

func (a *arena) header(r ref) *header { return (*header)(unsafe.Add(a.base, r)) }

func (a *arena) fragment(r ref) *fragment { return (*fragment)(unsafe.Add(a.base, r)) }

// chain is the first fragment of an item with bitChain.
func (a *arena) chain(r ref) *ref { return (*ref)(unsafe.Add(a.base, uint64(r)+uint64(headerSize))) }

func (a *arena) chainInline(r ref) *uint32 {
	return (*uint32)(unsafe.Add(a.base, uint64(r)+uint64(headerSize)+8))
}

func (h *header) keyOffset() uint32 {
	n := headerSize
	if h.bits&bitChain != 0 {
		n += chainSize
	}
	if h.bits&bitFlags != 0 {
		n += flagsSize
	}
	return n
}

func (a *arena) flags(r ref, h *header) uint32 {
	if h.bits&bitFlags == 0 {
		return 0
	}
	return *(*uint32)(unsafe.Add(a.base, uint64(r)+uint64(h.keyOffset()-flagsSize)))
}

func (a *arena) setFlags(r ref, h *header, flags uint32) {
	if h.bits&bitFlags != 0 {
		*(*uint32)(unsafe.Add(a.base, uint64(r)+uint64(h.keyOffset()-flagsSize))) = flags
	}
}

func (a *arena) key(r ref, h *header) []byte {
	return a.bytes(r+ref(h.keyOffset()), uint32(h.klen))
}

// inline is the part of the value that stands in the item's own record.
func (a *arena) inline(r ref, h *header) []byte {
	n := h.vlen
	if h.bits&bitChain != 0 {
		n = *a.chainInline(r)
	}
	return a.bytes(r+ref(h.keyOffset()+uint32(h.klen)), n)
}

// recordSize is the room that the item or fragment at r takes in its segment.
func (a *arena) recordSize(r ref) uint32 {
	h := a.header(r)
	if h.bits&bitFragment != 0 {
		return align8(fragmentSize + a.fragment(r).size)
	}
	n := h.vlen
	if h.bits&bitChain != 0 {
		n = *a.chainInline(r)
	}
	return align8(h.keyOffset()+uint32(h.klen)+n) + uint32(h.slack)*8
}

// itemSize is the item's size as limits and statistics count it.
func (a *arena) itemSize(r ref, h *header) int64 {
	return int64(ItemSize(int(h.klen), int(h.vlen), a.flags(r, h)))
}

// wholeSize is the room that an item takes if it is not split.
func wholeSize(klen, vlen int, flags uint32) uint64 {
	n := uint64(headerSize) + uint64(klen) + uint64(vlen)
	if flags != 0 {
		n += flagsSize
	}
	return (n + 7) &^ 7
}
