// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"io"
	"slices"
)

// SnapshotSize is the size in bytes from which on a value is held by a Snapshot rather than copied, where
// the reader brings one.
const SnapshotSize = 64 << 10

// heldShare is how many eighths of the budget held values may pin. One value takes up to a half.
const heldShare = 5

// Snapshot holds one large value as it was when it was read, without a copy: what happens to the item
// afterwards does not touch it. Its memory is not used for anything else before Release, so it must be
// released soon, and exactly by who read it. The zero value is ready for use, and again after Release. It
// must not be used by two goroutines at once.
type Snapshot struct {
	p      *partition
	pieces []piece
	next   int
}

// piece is a part of a value: n bytes at at, up to end of the whole.
type piece struct {
	at  ref
	n   uint32
	end uint32
}

// Size is the length of the value in bytes, or 0 if nothing is held.
func (s *Snapshot) Size() int {
	if len(s.pieces) == 0 {
		return 0
	}
	return int(s.pieces[len(s.pieces)-1].end)
}

// Next is the value's next piece, to be read and not to be written, and valid until Release. It is nil
// after the last one.
func (s *Snapshot) Next() []byte {
	if s.next == len(s.pieces) {
		return nil
	}
	s.next++
	return s.bytes(s.next - 1)
}

func (s *Snapshot) bytes(i int) []byte { return s.p.a.bytes(s.pieces[i].at, s.pieces[i].n) }

// ReadAt copies what stands at offset off, as io.ReaderAt says.
func (s *Snapshot) ReadAt(dst []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	i, _ := slices.BinarySearchFunc(s.pieces, off+1, func(p piece, end int64) int { return int(int64(p.end) - end) })
	for ; i < len(s.pieces) && n < len(dst); i++ {
		start := int64(s.pieces[i].end - s.pieces[i].n)
		n += copy(dst[n:], s.bytes(i)[off+int64(n)-start:])
	}
	if n < len(dst) {
		return n, io.EOF
	}
	return n, nil
}

// Release gives the memory back. It may be called on an empty snapshot, and after the engine was closed.
func (s *Snapshot) Release() {
	s.next = 0
	if len(s.pieces) == 0 {
		return
	}
	p := s.p
	p.mu.Lock()
	p.unpin(s.pieces)
	p.mu.Unlock()
	s.pieces = s.pieces[:0]
	s.p = nil
	_ = p.e.unhold() // only unmapping can fail, and what for is not known here
}

// hold lets s have the value of the item at r, piece by piece. It returns false if too much is held already.
func (p *partition) hold(s *Snapshot, r ref, h *header) bool {
	s.add(p, r+ref(h.valueOffset()), h.size())
	for next := h.chain(); next != 0; {
		f := p.a.fragment(next)
		s.add(p, next+fragmentSize, f.size())
		next = f.next()
	}
	if p.e.pinned.Load()<<p.a.shift > p.pool.bytes.Load()*heldShare/8 {
		p.unpin(s.pieces)
		s.pieces = s.pieces[:0]
		return false
	}
	p.e.claims.Add(1)
	s.p = p
	return true
}

// add pins one more piece: its unit is not used for anything else before unpin.
func (s *Snapshot) add(p *partition, at ref, n uint32) {
	s.pieces = append(s.pieces, piece{at: at, n: n, end: uint32(s.Size()) + n})
	d := p.a.desc(p.a.unitOf(at))
	if d.pins++; d.pins == 1 {
		p.e.pinned.Add(1)
	}
}

// unpin takes back what hold did. A segment that was emptied meanwhile is free only now.
func (p *partition) unpin(pieces []piece) {
	for _, c := range pieces {
		u := p.a.unitOf(c.at)
		d := p.a.desc(u)
		if d.pins--; d.pins > 0 {
			continue
		}
		p.e.pinned.Add(-1)
		if d.state == unitPinned {
			p.giveUnit(u)
		}
	}
}

// unhold gives up one claim on the arena's mapping: the engine's own, or a snapshot's. The last one ends it.
func (e *Engine) unhold() error {
	if e.claims.Add(-1) > 0 {
		return nil
	}
	return e.arena.close()
}
