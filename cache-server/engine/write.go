// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

// source yields the bytes of a new value in order: some before, those of an old item, some after,
// then spaces.
type source struct {
	a      *arena
	before []byte
	cur    []byte // what is left of the old item's current piece
	next   ref    // the old item's next fragment
	after  []byte
	blanks int // how many spaces follow
}

// oldSource yields the value of the item at r.
func oldSource(a *arena, r ref) source {
	h := a.header(r)
	s := source{a: a, cur: a.inline(r, h)}
	if h.has(bitChain) {
		s.next = *a.chain(r)
	}
	return s
}

// read fills dst.
func (s *source) read(dst []byte) {
	n := copy(dst, s.before)
	s.before, dst = s.before[n:], dst[n:]
	for len(dst) > 0 {
		if len(s.cur) == 0 {
			if s.next == 0 {
				break
			}
			f := s.a.fragment(s.next)
			s.cur = s.a.bytes(s.next+ref(fragmentSize), f.size)
			s.next = f.next
		}
		n = copy(dst, s.cur)
		s.cur, dst = s.cur[n:], dst[n:]
	}
	n = copy(dst, s.after)
	s.after, dst = s.after[n:], dst[n:]
	n = min(len(dst), s.blanks)
	blank(dst[:n])
	s.blanks -= n
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

// prefix is the length of what stands before the key in a record that is not split.
func (w *write) prefix() uint32 {
	n := headerSize
	if w.flags != 0 {
		n += flagsSize
	}
	if w.bits&bitCAS != 0 {
		n += casSize
	}
	return n
}

// size is the room that the item takes if it is not split.
func (w *write) size() uint64 {
	return (uint64(w.prefix()) + uint64(len(w.key)) + uint64(w.vlen) + 7) &^ 7
}

// itemSize is the item's size as limits and statistics count it.
func (w *write) itemSize() int { return ItemSize(len(w.key), w.vlen, w.flags) }

// pieceSize is the largest record: small enough that survivors of a segment pack well.
func (p *partition) pieceSize() uint32 { return p.a.unitSize() / 8 }

// unitsNeeded bounds how many units storing an item opens.
func (p *partition) unitsNeeded(size uint64, room uint32) int {
	if size <= uint64(room) && size <= uint64(p.pieceSize()) {
		return 0
	}
	if size <= unsplitSize {
		return 1
	}
	// A unit holds up to ten pieces, each with a header and padding, and a gap at its end.
	usable := uint64(p.a.unitSize()) - minPiece - 11*uint64(fragmentSize+8)
	return int((size + MaxKeyLen + usable - 1) / usable)
}

// store writes the records of an item to a queue. The caller has made sure of the units. It returns
// 0 only if the arena is used up.
func (p *partition) store(w *write, q int, now int64) ref {
	size := w.size()
	room, piece := p.room(q), p.pieceSize()
	base := w.prefix() + chainSize + uint32(len(w.key))
	splits := room >= base+minPiece && size > unsplitSize
	if size <= uint64(piece) && (size <= uint64(room) || !splits) {
		r := p.append(q, uint32(size))
		if r != 0 {
			p.fill(r, w, uint32(w.vlen), 0, now)
		}
		return r
	}
	if room < base+minPiece {
		room = p.a.unitSize()
	}
	// Always less than the value, or the item had not been split.
	inline := min(room, piece)&^7 - base
	r := p.append(q, align8(base+inline))
	if r == 0 {
		return 0
	}
	p.fill(r, w, inline, bitChain, now)
	if !p.storeFragments(r, w, q, uint32(w.vlen)-inline) {
		p.killItem(r)
		return 0
	}
	return r
}

// fill writes an item's own record.
func (p *partition) fill(r ref, w *write, inline uint32, bits uint16, now int64) {
	h := p.a.header(r)
	if w.flags != 0 {
		bits |= bitFlags
	}
	*h = header{vlen: uint32(w.vlen), klen: uint8(len(w.key)), bits: bits | w.bits, exp: w.exp, seen: w.seen}
	if w.seen == 0 {
		h.seen = p.e.since(now)
	}
	if w.version == 0 {
		w.version = p.e.cas.Add(1)
	}
	if bits&bitChain != 0 {
		*p.a.chain(r) = 0
		*p.a.chainInline(r) = inline
	}
	p.a.setFlags(r, h, w.flags)
	p.a.setCAS(r, h, w.version, w.cas)
	copy(p.a.key(r, h), w.key)
	w.src.read(p.a.inline(r, h))
	p.noteExpiry(r, w.exp)
}

// storeFragments writes what is left of a value behind the item at r.
func (p *partition) storeFragments(r ref, w *write, q int, left uint32) bool {
	link, prev := p.a.chain(r), r
	for left > 0 {
		room := p.room(q)
		if room < fragmentSize+min(left, minPiece) {
			room = p.a.unitSize()
		}
		n := min(left, min(room, p.pieceSize())&^7-fragmentSize)
		at := p.append(q, align8(fragmentSize+n))
		if at == 0 {
			return false
		}
		f := p.a.fragment(at)
		*f = fragment{size: n, bits: bitFragment, prev: prev, owner: w.hash}
		w.src.read(p.a.bytes(at+ref(fragmentSize), n))
		*link = at
		link, prev = &f.next, at
		left -= n
	}
	return true
}

// overwrite replaces an item within its own record, if it fits there without wasting much.
func (p *partition) overwrite(r ref, h *header, w *write, now int64) bool {
	if h.has(bitChain) {
		return false
	}
	have, want := p.a.recordSize(r), w.size()
	if want > uint64(have) || uint64(have)-want > min(max(16, uint64(have/8)), maxSlack) {
		return false
	}
	p.account(p.a.itemSize(r, h), -1)
	p.account(int64(w.itemSize()), 1)
	p.fill(r, w, uint32(w.vlen), 0, now)
	h.slack = uint8((uint64(have) - want) / 8)
	return true
}
