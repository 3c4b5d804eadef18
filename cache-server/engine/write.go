// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

// source yields the bytes of a new value in order: some before, those of an old item, some after.
type source struct {
	a      *arena
	before []byte
	cur    []byte // what is left of the old item's current piece
	next   ref    // the old item's next fragment
	after  []byte
}

func (s *source) setOld(a *arena, r ref) {
	h := a.header(r)
	s.a, s.cur = a, a.inline(r, h)
	if h.bits&bitChain != 0 {
		s.next = *a.chain(r)
	}
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
	s.after = s.after[copy(dst, s.after):]
}

// write is an item about to be stored.
type write struct {
	hash  uint64
	key   []byte
	src   source
	vlen  int
	flags uint32
	exp   uint32
	bits  uint8
}

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
func (p *partition) store(w *write, q int, cas uint64, now int64) ref {
	size := wholeSize(len(w.key), w.vlen, w.flags)
	room, piece := p.room(q), p.pieceSize()
	base := headerSize + chainSize + uint32(len(w.key))
	if w.flags != 0 {
		base += flagsSize
	}
	splits := room >= base+minPiece && size > unsplitSize
	if size <= uint64(piece) && (size <= uint64(room) || !splits) {
		r := p.append(q, uint32(size))
		if r != 0 {
			p.fill(r, w, uint32(w.vlen), 0, cas, now)
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
	p.fill(r, w, inline, bitChain, cas, now)
	if !p.storeFragments(r, w, q, uint32(w.vlen)-inline) {
		p.killItem(r)
		return 0
	}
	return r
}

// fill writes an item's own record.
func (p *partition) fill(r ref, w *write, inline uint32, bits uint8, cas uint64, now int64) {
	h := p.a.header(r)
	if w.flags != 0 {
		bits |= bitFlags
	}
	*h = header{
		vlen: uint32(w.vlen), klen: uint8(len(w.key)), bits: bits | w.bits,
		exp: w.exp, seen: p.e.since(now), cas: cas,
	}
	if bits&bitChain != 0 {
		*p.a.chain(r) = 0
		*p.a.chainInline(r) = inline
	}
	p.a.setFlags(r, h, w.flags)
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
	if h.bits&bitChain != 0 {
		return false
	}
	have, want := p.a.recordSize(r), wholeSize(len(w.key), w.vlen, w.flags)
	if want > uint64(have) || uint64(have)-want > max(16, uint64(have/8)) {
		return false
	}
	p.n.bytes += int64(ItemSize(len(w.key), w.vlen, w.flags)) - p.a.itemSize(r, h)
	p.fill(r, w, uint32(w.vlen), 0, p.e.cas.Add(1), now)
	h.slack = uint16((uint64(have) - want) / 8)
	return true
}
