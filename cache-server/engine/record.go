// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "unsafe"

// Bits of a record's header.
const (
	bitDead     uint16 = 1 << iota // the record was replaced, removed or moved
	bitFragment                    // a fragment, else an item
	bitChain                       // an item whose value goes on in fragments
	bitFlags                       // an item with client flags other than 0
	bitCAS                         // an item with a CAS of its own besides its version
	bitFetched                     // an item that was read since it was stored
	bitStale                       // an item that was marked as no longer true
	bitWinSent                     // an item that somebody was told to make anew
	bitBinary                      // an item whose key was given in base64

	// bitsState are the bits that belong to the item rather than to the shape of its record.
	bitsState = bitFetched | bitStale | bitWinSent | bitBinary
)

// header starts every item in a segment.
//
//	header 24 | chain 12, if bitChain | flags 4, if bitFlags | cas 8, if bitCAS | key | value | padding to 8 | slack
//
// The version tells what was stored before a flush, so that it must be the engine's own. A CAS that a
// client chose stands beside it.
type header struct {
	vlen    uint32 // length of the value, fragments included
	bits    uint16
	klen    uint8
	slack   uint8  // unused room behind the record, in units of 8 bytes
	exp     uint32 // expiry in seconds since the epoch; 0 never
	seen    uint32 // last access in seconds since the epoch
	version uint64 // unique and rising
}

// fragment starts every further piece of a large value.
type fragment struct {
	size  uint32 // bytes of value in it
	bits  uint16
	_     uint8
	slack uint8
	prev  ref // the fragment before it, or the item
	next  ref // the fragment after it, or 0
	owner uint64
}

const (
	headerSize   = uint32(unsafe.Sizeof(header{}))
	fragmentSize = uint32(unsafe.Sizeof(fragment{}))
	chainSize    = 12
	flagsSize    = 4
	casSize      = 8
	maxSlack     = 8 * 255
	// unsplitSize is the size up to which a record is not split to fill the end of a segment.
	unsplitSize = 1 << 10
	// minPiece is the least room at the end of a segment that is worth a piece.
	minPiece = 256
)

func align8(n uint32) uint32 { return (n + 7) &^ 7 }

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

// chain is the first fragment of an item with bitChain.
func (a *arena) chain(r ref) *ref { return (*ref)(unsafe.Add(a.base, uint64(r)+uint64(headerSize))) }

func (a *arena) chainInline(r ref) *uint32 {
	return (*uint32)(unsafe.Add(a.base, uint64(r)+uint64(headerSize)+8))
}

func (h *header) has(bits uint16) bool { return h.bits&bits != 0 }

func (h *header) set(bits uint16) { h.bits |= bits }

func (h *header) unset(bits uint16) { h.bits &^= bits }

func (h *header) flagsOffset() uint32 {
	if h.has(bitChain) {
		return headerSize + chainSize
	}
	return headerSize
}

func (h *header) casOffset() uint32 {
	if h.has(bitFlags) {
		return h.flagsOffset() + flagsSize
	}
	return h.flagsOffset()
}

func (h *header) keyOffset() uint32 {
	if h.has(bitCAS) {
		return h.casOffset() + casSize
	}
	return h.casOffset()
}

func (a *arena) flags(r ref, h *header) uint32 {
	if !h.has(bitFlags) {
		return 0
	}
	return *(*uint32)(unsafe.Add(a.base, uint64(r)+uint64(h.flagsOffset())))
}

func (a *arena) setFlags(r ref, h *header, flags uint32) {
	if h.has(bitFlags) {
		*(*uint32)(unsafe.Add(a.base, uint64(r)+uint64(h.flagsOffset()))) = flags
	}
}

// cas is the item's CAS as clients see it.
func (a *arena) cas(r ref, h *header) uint64 {
	if !h.has(bitCAS) {
		return h.version
	}
	return *(*uint64)(unsafe.Add(a.base, uint64(r)+uint64(h.casOffset())))
}

// setCAS sets version and CAS. A CAS other than the version needs bitCAS.
func (a *arena) setCAS(r ref, h *header, version, cas uint64) {
	h.version = version
	if h.has(bitCAS) {
		*(*uint64)(unsafe.Add(a.base, uint64(r)+uint64(h.casOffset()))) = cas
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
