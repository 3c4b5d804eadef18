// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"math/bits"
	"unsafe"
)

// A bucket is one cache line: two words of bookkeeping and nine slots.
//
//	0   passed 2 | ghosts 8 x 1 | slots 9 x 6
//	    slot: tag 8 to 16 bits | freq 2 bits | place of the item, the rest
//
// passed counts the entries that belong to this bucket or one before it, found it full and stand
// further on: a search goes on only where it is not 0. The larger the arena, the fewer bits are left for
// the tag; refs of very large ones leave out bits that the grain of the records keeps at 0.
type bucket [bucketSize]byte

const (
	bucketSize  = 64
	bucketShift = 6
	slotsPer    = 9
	slotSize    = 6
	slotBits    = 8 * slotSize
	firstSlot   = bucketSize - slotsPer*slotSize
	// padBuckets stand behind the last home bucket and take what passes it.
	padBuckets = 16

	freqBits   = 2
	minTagBits = 8
	maxTagBits = 16
	maxPassed  = 1<<16 - 1
	ghostsPer  = 8
	ghostLow   = 0x0101010101010101 // the lowest bit of each ghost
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
	warmed uint8
}

// place is where a search ended. The slot is counted from 1; 0 means that nothing was found.
type place struct {
	home, at uint64
	bucket   *bucket
	slot     int
}

func (p place) found() bool { return p.slot != 0 }

func (b *bucket) slot(i int) uint64 {
	return le.Uint64(b[firstSlot+i*slotSize-2-slotSize:]) >> 16
}

func (b *bucket) setSlot(i int, s uint64) {
	le.PutUint32(b[firstSlot+i*slotSize-slotSize:], uint32(s))
	le.PutUint16(b[firstSlot+i*slotSize-2:], uint16(s>>32))
}

func (b *bucket) passed() uint16       { return le.Uint16(b[:]) }
func (b *bucket) setPassed(n uint16)   { le.PutUint16(b[:], n) }
func (b *bucket) ghosts() uint64       { return le.Uint64(b[2:]) }
func (b *bucket) setGhosts(all uint64) { le.PutUint64(b[2:], all) }

// slotRef is the item that a slot points to, or 0 if the slot is empty.
func (a *arena) slotRef(s uint64) ref { return ref(s&(1<<(a.refBits&63)-1)) << (a.grain & 63) }

func (a *arena) slotTag(s uint64) uint64 { return s >> ((a.refBits + freqBits) & 63) }

// hashTag is the tag of a hash as slots keep it.
func (a *arena) hashTag(h uint64) uint64 {
	return h >> 16 & (1<<min(maxTagBits, slotBits-freqBits-a.refBits) - 1)
}

func (a *arena) makeSlot(tag, freq uint64, r ref) uint64 {
	return (tag<<freqBits|freq)<<a.refBits | uint64(r)>>a.grain
}

// ref is the item that was found.
func (x *index) ref(p place) ref { return x.a.slotRef(p.bucket.slot(p.slot)) }

// freq is how often what was found was used lately.
func (x *index) freq(p place) uint64 { return p.bucket.slot(p.slot) >> x.a.refBits & freqMax }

func (x *index) setFreq(p place, freq uint64) {
	s := p.bucket.slot(p.slot)
	p.bucket.setSlot(p.slot, x.a.makeSlot(x.a.slotTag(s), freq, x.a.slotRef(s)))
}

func (x *index) setRef(p place, r ref) {
	s := p.bucket.slot(p.slot)
	p.bucket.setSlot(p.slot, x.a.makeSlot(x.a.slotTag(s), x.freq(p), r))
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

// find searches the item of a key.
func (x *index) find(h uint64, key []byte) (place, *header) {
	p := place{home: x.home(h)}
	tag := x.a.hashTag(h)
	shift := (x.a.refBits + freqBits) & 63 // for the compiler: never more
	for p.at = p.home; ; p.at++ {
		if x.a.lazy != nil {
			x.a.verify(x.dir[p.at>>x.shift])
		}
		p.bucket = x.bucketAt(p.at)
		for i := 1; i <= slotsPer; i++ {
			if s := p.bucket.slot(i); s>>shift == tag && s != 0 {
				hd := x.a.header(x.a.slotRef(s))
				if string(hd.key()) == string(key) {
					p.slot = i
					return p, hd
				}
			}
		}
		if p.bucket.passed() == 0 {
			return p, nil
		}
	}
}

// findRef searches the entry of the item at r.
func (x *index) findRef(h uint64, r ref) place {
	p := place{home: x.home(h)}
	for p.at = p.home; ; p.at++ {
		p.bucket = x.bucket(p.at)
		for i := 1; i <= slotsPer; i++ {
			if x.a.slotRef(p.bucket.slot(i)) == r {
				p.slot = i
				return p
			}
		}
		if p.bucket.passed() == 0 {
			return p
		}
	}
}

// findOwner searches the item whose value goes on in fragments that carry the owner's hash h.
func (x *index) findOwner(h uint64) place {
	p := place{home: x.home(h)}
	tag := x.a.hashTag(h)
	for p.at = p.home; ; p.at++ {
		p.bucket = x.bucket(p.at)
		for i := 1; i <= slotsPer; i++ {
			if s := p.bucket.slot(i); s != 0 && x.a.slotTag(s) == tag {
				hd := x.a.header(x.a.slotRef(s))
				if hd.isChain() && x.a.fragment(hd.chain()).owner() == h {
					p.slot = i
					return p
				}
			}
		}
		if p.bucket.passed() == 0 {
			return p
		}
	}
}

// insert puts an item into the first bucket with room from home on. It returns false if there is none.
func (x *index) insert(home, slot uint64) bool {
	end := x.physical()
	for at := home; at < end; at++ {
		b := x.bucket(at)
		for i := 1; i <= slotsPer; i++ {
			if b.slot(i) == 0 {
				b.setSlot(i, slot)
				for j := home; j < at; j++ {
					x.pass(j)
				}
				return true
			}
		}
	}
	return false
}

// pass counts one more entry that passed a bucket. At its top the counter stays for good: searches
// then only look further than they need.
func (x *index) pass(at uint64) {
	if b := x.bucket(at); b.passed() < maxPassed {
		b.setPassed(b.passed() + 1)
	}
}

// remove clears the slot of a search's end.
func (x *index) remove(p place) {
	p.bucket.setSlot(p.slot, 0)
	for j := p.home; j < p.at; j++ {
		if b := x.bucket(j); b.passed() != maxPassed && b.passed() != 0 {
			b.setPassed(b.passed() - 1)
		}
	}
}

// ghostOf is what is kept of the hash of an item that was evicted. It is not 0.
func ghostOf(h uint64) uint64 { return max(h>>8&0xff, 1) }

// ghostAt is where a ghost is among the ghosts of a bucket, in bits, or 64 if it is not.
func ghostAt(ghosts, ghost uint64) int {
	differ := ghosts ^ ghost*ghostLow
	// The lowest byte that is 0 has its topmost bit set here, and no lower byte has.
	return bits.TrailingZeros64((differ-ghostLow)&^differ&(ghostLow<<7)) &^ 7
}

// haunt remembers that an item was evicted before it proved itself. Each bucket keeps its last eight.
func (x *index) haunt(h uint64) {
	b := x.bucket(x.home(h))
	b.setGhosts((b.ghosts()<<8 | ghostOf(h)) & (1<<(8*ghostsPer) - 1))
}

// haunted reports whether an item was evicted lately. Of others, at most one in thirty-two seems so.
func (x *index) haunted(h uint64) bool {
	return ghostAt(x.bucket(x.home(h)).ghosts(), ghostOf(h)) < 64
}

// exorcise forgets that an item was evicted.
func (x *index) exorcise(h uint64) {
	b := x.bucket(x.home(h))
	all := b.ghosts()
	if at := ghostAt(all, ghostOf(h)); at < 64 {
		low := all & (1<<at - 1)
		b.setGhosts(low | all>>(at+8)<<at) // no gap takes the place of another
	}
}
