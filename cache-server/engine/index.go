// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"math/bits"
	"unsafe"
)

// A bucket is one cache line: a word of bookkeeping and seven slots.
//
//	word 0   ghosts 4 x 14 | passed 8
//	word 1-7 tag 16 | freq 2 | unused 2 | ref/8 44
//
// passed counts the entries that belong to this bucket or one before it, found it full and stand
// further on: a search goes on only where it is not 0.
type bucket [8]uint64

const (
	bucketSize  = 64
	bucketShift = 6
	slotsPer    = 7
	// padBuckets stand behind the last home bucket and take what passes it.
	padBuckets = 16

	refBits   = 44
	refMask   = 1<<refBits - 1
	freqShift = 46
	freqMask  = 3
	tagShift  = 48

	passedMask = 0xff
	ghostBits  = 14
	ghostMask  = 1<<ghostBits - 1
	ghostsPer  = 4
)

// index maps hashes to items. Its home buckets are in the order of the hashes, so that it can grow and
// shrink in place, bucket by bucket: see resize.go.
type index struct {
	a     *arena
	dir   []unit // the units that hold the buckets, in order
	n     uint64 // home buckets
	next  uint64 // home buckets after the resize under way; n if there is none
	sweep uint64 // the resize's progress
	items uint64
	shift uint // log2 of the buckets in a unit
	moved []movedSlot
	// warmed keeps the compiler from leaving out loads that are made for the cache alone.
	warmed uint16
}

// place is where a search ended.
type place struct {
	home, at uint64
	slot     *uint64
}

func slotRef(s uint64) ref    { return ref(s&refMask) << 3 }
func slotTag(h uint64) uint64 { return h >> 16 & 0xffff }
func slotFreq(s uint64) uint64 {
	return s >> freqShift & freqMask
}

func makeSlot(h, freq uint64, r ref) uint64 {
	return slotTag(h)<<tagShift | freq<<freqShift | uint64(r)>>3
}

func withRef(s uint64, r ref) uint64 { return s&^uint64(refMask) | uint64(r)>>3 }

func withFreq(s, freq uint64) uint64 {
	return s&^(uint64(freqMask)<<freqShift) | freq<<freqShift
}

// physical is how many buckets there are.
func (x *index) physical() uint64 { return uint64(len(x.dir)) << x.shift }

// bucket is a bucket whose unit is verified.
func (x *index) bucket(i uint64) *bucket {
	if x.a.lazy != nil {
		x.a.verify(x.dir[i>>x.shift])
	}
	return x.bucketAt(i)
}

// bucketAt is a bucket whose unit is known to be verified.
func (x *index) bucketAt(i uint64) *bucket {
	u := x.dir[i>>x.shift]
	off := uint64(x.a.start(u)) + (i&(1<<x.shift-1))<<bucketShift
	return (*bucket)(unsafe.Add(x.a.base, off))
}

// home is the bucket where a hash belongs, in the middle of a resize as well.
func (x *index) home(h uint64) uint64 {
	b, _ := bits.Mul64(h, x.n)
	if x.n == x.next {
		return b
	}
	// Growing sweeps from the last bucket down, shrinking from the first one up.
	if x.next > x.n && b >= x.sweep || x.next < x.n && b < x.sweep {
		b, _ = bits.Mul64(h, x.next)
	}
	return b
}

// find searches the item of a key. The slot is nil if there is none.
func (x *index) find(h uint64, key []byte) (place, *header) {
	p := place{home: x.home(h)}
	tag := slotTag(h)
	for p.at = p.home; ; p.at++ {
		if x.a.lazy != nil {
			x.a.verify(x.dir[p.at>>x.shift])
		}
		b := x.bucketAt(p.at)
		for i := 1; i <= slotsPer; i++ {
			if s := b[i]; s>>tagShift == tag && s&refMask != 0 {
				r := slotRef(s)
				hd := x.a.header(r)
				if string(x.a.key(r, hd)) == string(key) {
					p.slot = &b[i]
					return p, hd
				}
			}
		}
		if b[0]&passedMask == 0 {
			return p, nil
		}
	}
}

// findRef searches the entry of the item at r.
func (x *index) findRef(h uint64, r ref) place {
	p := place{home: x.home(h)}
	for p.at = p.home; ; p.at++ {
		b := x.bucket(p.at)
		for i := 1; i <= slotsPer; i++ {
			if slotRef(b[i]) == r {
				p.slot = &b[i]
				return p
			}
		}
		if b[0]&passedMask == 0 {
			return p
		}
	}
}

// findOwner searches the item whose value goes on in fragments that carry the owner's hash h.
func (x *index) findOwner(h uint64) place {
	p := place{home: x.home(h)}
	tag := slotTag(h)
	for p.at = p.home; ; p.at++ {
		b := x.bucket(p.at)
		for i := 1; i <= slotsPer; i++ {
			if s := b[i]; s>>tagShift == tag && s&refMask != 0 {
				r := slotRef(s)
				if x.a.header(r).bits&bitChain != 0 && x.a.fragment(*x.a.chain(r)).owner == h {
					p.slot = &b[i]
					return p
				}
			}
		}
		if b[0]&passedMask == 0 {
			return p
		}
	}
}

// insert puts a slot into the first bucket with room from home on. It returns nil if there is none.
func (x *index) insert(home, slot uint64) *uint64 {
	end := x.physical()
	for at := home; at < end; at++ {
		b := x.bucket(at)
		for i := 1; i <= slotsPer; i++ {
			if b[i]&refMask == 0 {
				b[i] = slot
				for j := home; j < at; j++ {
					x.pass(j)
				}
				return &b[i]
			}
		}
	}
	return nil
}

// pass counts one more entry that passed a bucket. At its top the counter stays for good: searches
// then only look further than they need.
func (x *index) pass(at uint64) {
	if b := x.bucket(at); b[0]&passedMask < passedMask {
		b[0]++
	}
}

// remove clears the slot of a search's end.
func (x *index) remove(p place) {
	*p.slot = 0
	for j := p.home; j < p.at; j++ {
		if b := x.bucket(j); b[0]&passedMask != passedMask && b[0]&passedMask != 0 {
			b[0]--
		}
	}
}

func ghostOf(h uint64) uint64 { return h >> 8 & ghostMask }

// haunt remembers that an item was evicted before it proved itself. Each bucket keeps its last four.
func (x *index) haunt(h uint64) {
	b := x.bucket(x.home(h))
	ghosts := b[0] >> 8
	b[0] = b[0]&passedMask | (ghosts<<ghostBits|ghostOf(h)|1)<<8
}

// haunted reports whether an item was evicted lately.
func (x *index) haunted(h uint64) bool {
	ghosts := x.bucket(x.home(h))[0] >> 8
	for range ghostsPer {
		if ghosts&ghostMask == ghostOf(h)|1 {
			return true
		}
		ghosts >>= ghostBits
	}
	return false
}

// exorcise forgets that an item was evicted.
func (x *index) exorcise(h uint64) {
	b := x.bucket(x.home(h))
	for i := range ghostsPer {
		if at := 8 + i*ghostBits; b[0]>>at&ghostMask == ghostOf(h)|1 {
			b[0] &^= ghostMask << at
		}
	}
}
