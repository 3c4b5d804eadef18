// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

// source yields the bytes of a new value in order: what was given and an old item's, or the other way round, then
// spaces.
type source struct {
	a      *arena
	given  []byte
	more   [][]byte // what follows given
	last   bool     // the old item's bytes go first
	cur    []byte   // what is left of the old item's current piece
	next   ref      // the old item's next fragment
	blanks int      // how many spaces follow
}

// oldSource yields the value of the item at r.
func oldSource(a *arena, r ref) source {
	h := a.header(r)
	s := source{a: a, cur: h.inline()}
	if h.isChain() {
		s.next = h.chain()
	}
	return s
}

// read fills dst.
func (s *source) read(dst []byte) {
	if !s.last {
		dst = s.readGiven(dst)
	}
	for len(dst) > 0 {
		if len(s.cur) == 0 {
			if s.next == 0 {
				break
			}
			s.cur = s.a.fragmentValue(s.next)
			s.next = s.a.fragment(s.next).next()
		}
		n := copy(dst, s.cur)
		s.cur, dst = s.cur[n:], dst[n:]
	}
	dst = s.readGiven(dst) // of which nothing is left if it went first
	n := min(len(dst), s.blanks)
	blank(dst[:n])
	s.blanks -= n
}

// readGiven fills dst from what was given, and returns what is left of dst.
func (s *source) readGiven(dst []byte) []byte {
	for {
		n := copy(dst, s.given)
		s.given, dst = s.given[n:], dst[n:]
		if len(dst) == 0 || len(s.more) == 0 {
			return dst
		}
		s.given, s.more = s.more[0], s.more[1:]
	}
}

// write is an item about to be stored.
type write struct {
	hash  uint64
	key   []byte
	src   source
	vlen  int
	flags uint32
	exp   uint32
	seen  uint32 // 0 is now
	bits  uint16 // of bitsState, and bitCAS if cas is to be kept
	// version is the item's; 0 takes a new one.
	version, cas uint64
	// number is what Increment and Decrement made, before the expiry that they found.
	number uint64
	before int64
	// rewrites tells that the item stays what it was in another record.
	rewrites bool
}

// shape are the bits of a record of the item, and prefix the length of what stands before the key if it is
// not split.
func (w *write) shape() (bits uint16, prefix uint32) {
	bits, prefix = w.bits, headerSize
	if w.exp != 0 {
		bits |= bitExp
	}
	if w.flags != 0 {
		bits |= bitFlags
		prefix += flagsSize
	}
	if bits&bitExp != 0 {
		prefix += expSize
	}
	if bits&bitsUpper != 0 {
		bits |= bitMore
		prefix += upperSize
	}
	if bits&bitCAS != 0 {
		prefix += casSize
	}
	return bits, prefix
}

// size is how long the item's record is if it is not split.
func (w *write) size() uint64 {
	_, prefix := w.shape()
	return uint64(prefix) + uint64(len(w.key)) + uint64(w.vlen)
}

// sizeOf is the room that the item takes if it is not split.
func (p *partition) sizeOf(w *write) uint64 {
	mask := uint64(1)<<p.a.grain - 1
	return (w.size() + mask) &^ mask
}

// itemSize is the item's size as limits and statistics count it.
func (w *write) itemSize() int { return ItemSize(len(w.key), w.vlen, w.flags) }

// pieceSize is the largest record: small enough that survivors of a segment pack well.
func (p *partition) pieceSize() uint32 { return min(p.a.unitSize()/8, maxSize&^63) }

// unitsNeeded bounds how many units storing an item opens.
func (p *partition) unitsNeeded(size uint64, room uint32) int {
	if size <= uint64(room) && size <= uint64(p.pieceSize()) {
		return 0
	}
	if size <= unsplitSize {
		return 1
	}
	// A unit holds up to ten pieces, each with a header and padding, and a gap at its end.
	usable := uint64(p.a.unitSize()) - minPiece - 11*(fragmentSize+32)
	return int((size + MaxKeyLen + usable - 1) / usable)
}

// store writes the records of an item to a queue. The caller has made sure of the units. It returns
// 0 only if the arena is used up.
func (p *partition) store(w *write, q int, now int64) ref {
	size := p.sizeOf(w)
	room, piece := p.room(q), p.pieceSize()
	// An item in pieces always has room for an expiry: to copy it for that would cost more.
	split := *w
	split.bits |= bitExp
	_, prefix := split.shape()
	base := prefix + chainSize + uint32(len(w.key))
	splits := room >= base+minPiece && size > unsplitSize
	if size <= uint64(piece) && (size <= uint64(room) || !splits) {
		r := p.append(q, uint32(size))
		if r != 0 {
			p.fill(r, w, uint32(w.vlen), false, now)
		}
		return r
	}
	w.bits = split.bits
	if room < base+minPiece {
		room = p.a.unitSize()
	}
	// Always less than the value, or the item had not been split.
	inline := min(room, piece)&^31 - base
	r := p.append(q, p.a.align(base+inline))
	if r == 0 {
		return 0
	}
	p.fill(r, w, inline, true, now)
	if !p.storeFragments(r, w, q, uint32(w.vlen)-inline) {
		p.killItem(r)
		return 0
	}
	return r
}

// fill writes an item's own record.
func (p *partition) fill(r ref, w *write, inline uint32, chained bool, now int64) {
	h := p.a.header(r)
	bits, _ := w.shape()
	*h = header{uint8(len(w.key)), uint8(bits)}
	le.PutUint16(h[2:], uint16(inline))
	if bits&bitMore != 0 {
		*(*uint8)(h.at(headerSize)) = uint8(bits >> 8)
	}
	if w.seen == 0 {
		w.seen = p.e.since(now)
	}
	if w.version == 0 {
		w.version = p.e.cas.Add(1)
	}
	p.a.setSeen(r, h, w.seen)
	p.a.setCAS(r, h, w.version, w.cas)
	h.setExp(w.exp)
	if w.flags != 0 {
		le.PutUint32(h.bytes(h.flagsOffset(), flagsSize), w.flags)
	}
	if chained {
		h[3] |= chainMark >> 8
		h.setChain(0)
		le.PutUint32(h.bytes(h.chainOffset()+6, 4), uint32(w.vlen))
	}
	copy(h.key(), w.key)
	w.src.read(h.inline())
	p.noteExpiry(r, w.exp)
}

// storeFragments writes what is left of a value behind the item at r.
func (p *partition) storeFragments(r ref, w *write, q int, left uint32) bool {
	prev := r
	for left > 0 {
		room := p.room(q)
		if room < fragmentSize+min(left, minPiece) {
			room = p.a.unitSize()
		}
		n := min(left, min(room, p.pieceSize())&^31-fragmentSize)
		at := p.append(q, p.a.align(fragmentSize+n))
		if at == 0 {
			return false
		}
		p.a.fragment(at).init(n, prev, w.hash)
		w.src.read(p.a.fragmentValue(at))
		p.a.setNext(prev, at)
		prev = at
		left -= n
	}
	return true
}

// overwrite replaces an item within its own record, if it fits there without wasting much.
func (p *partition) overwrite(r ref, h *header, w *write, now int64) bool {
	if h.isChain() || w.version != 0 || !p.a.desc(p.a.unitOf(r)).takes(p.e.cas.Load()) {
		return false
	}
	have, want := p.a.recordSize(r), w.size()
	if want > uint64(have) || uint64(have)-want > min(max(16, uint64(have/8)), maxSlack) {
		return false
	}
	p.account(h.itemSize(), -1)
	p.account(int64(w.itemSize()), 1)
	p.fill(r, w, uint32(w.vlen), false, now)
	if p.a.align(uint32(want)) < have {
		h.setSlack(have - uint32(want))
	}
	return true
}
