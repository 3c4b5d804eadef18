// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

// The index is resized in place. Hash h belongs to bucket floor(h*n/2^64), so a larger or smaller n
// keeps the order of the entries, and one sweep moves each to its new bucket: from the last bucket down
// when growing, from the first one up when shrinking, so that the new place has always been swept
// already or is the very bucket at hand. Between two steps every entry is where home says.

// Loads of the index in 1/100 of its slots.
const (
	loadSoft   = 85 // above it the index grows as soon as units are free
	loadHard   = 93 // above it nothing is inserted before room was made
	loadLow    = 35 // below it the index shrinks
	loadTarget = 60 // what shrinking aims at
	// Where memory is short, items have more use of it than empty slots.
	loadSoftShort   = 90
	loadLowShort    = 80
	loadTargetShort = 86
	// growAhead is what the index grows by while memory is free: one in this many; less than one in growShare
	// is not worth a sweep, or one in growShareShort where memory is short.
	growAhead      = 4
	growShare      = 8
	growShareShort = 16
	// sweepPerInsert is how many buckets each insert moves on while the index is resized.
	sweepPerInsert = 3
)

type movedSlot struct{ hash, slot uint64 }

func (x *index) init(a *arena, first unit) {
	*x = index{a: a, shift: a.shift - bucketShift}
	x.addUnit(first)
	x.n = x.fitting()
	x.next = x.n
}

// addUnit appends a unit of buckets, which stay unused until grow.
func (x *index) addUnit(u unit) {
	x.a.clear(u)
	*x.a.desc(u) = unitDesc{state: unitIndex, seq: x.a.desc(u).seq}
	x.dir = append(x.dir, u)
}

// fitting is how many home buckets the units at hand have room for.
func (x *index) fitting() uint64 { return x.physical() - padBuckets }

func (x *index) resizing() bool { return x.n != x.next }

// over reports whether the index, as it is or as it will be after a resize, is loaded above load.
func (x *index) over(load uint64) bool { return x.items*100 >= min(x.n, x.next)*slotsPer*load }

// grow starts to use all units. It is worth the sweep only for so much more: one in share.
func (x *index) grow(share uint64) bool {
	if n := x.fitting(); !x.resizing() && n >= x.n+x.n/share {
		x.next, x.sweep = n, x.n
		return true
	}
	return false
}

// shrink starts to leave units that are not needed. It halves at most, so that what is inserted before
// the sweep ends finds room.
func (x *index) shrink(low, target uint64) bool {
	if x.resizing() || x.over(low) {
		return false
	}
	per := uint64(1) << x.shift
	buckets := x.items*100/(slotsPer*target) + padBuckets
	n := max(1, (max(buckets, x.n/2)+per-1)/per)*per - padBuckets
	if n >= x.n {
		return false
	}
	x.next, x.sweep = n, 0
	return true
}

// step sweeps some buckets. Entries that find no place are handed to drop.
func (x *index) step(key hashKey, count int, drop func(slot uint64)) {
	for range count {
		if !x.resizing() {
			return
		}
		x.sweepBucket(key, drop)
	}
}

func (x *index) sweepBucket(key hashKey, drop func(slot uint64)) {
	from := x.sweep
	growing := x.next > x.n
	if growing {
		from--
	}
	x.moved = x.moved[:0]
	for at := from; at < x.physical(); at++ {
		b := x.bucket(at)
		x.warm(b)
		for i := 1; i <= slotsPer; i++ {
			s := b.slot(i)
			if s == 0 {
				continue
			}
			h := key.sum(x.a.header(x.a.slotRef(s)).key())
			if x.home(h) != from {
				continue
			}
			x.moved = append(x.moved, movedSlot{hash: h, slot: s})
			x.remove(place{home: from, at: at, bucket: b, slot: i})
		}
		if b.passed() == 0 {
			break
		}
	}
	if growing {
		x.sweep = from
	} else {
		x.sweep = from + 1
	}
	for _, m := range x.moved {
		if !x.insert(x.home(m.hash), m.slot) {
			x.items--
			drop(m.slot)
		}
	}
	if growing && x.sweep == 0 || !growing && x.sweep == x.n {
		x.n = x.next
	}
}

// warm loads the headers of a bucket's items with nothing to wait for in between, so that their cache
// misses overlap.
func (x *index) warm(b *bucket) {
	var bits uint8
	for i := 1; i <= slotsPer; i++ {
		if s := b.slot(i); s != 0 {
			bits |= x.a.header(x.a.slotRef(s))[1]
		}
	}
	x.warmed = bits
}

// trim takes the last unit off if nothing needs it, else it returns 0.
func (x *index) trim() unit {
	last := len(x.dir) - 1
	from := uint64(last) << x.shift
	// A search must never run past the end, not even over a counter that stayed at its top.
	if x.resizing() || x.n+padBuckets > from || x.bucket(from-1).passed() != 0 {
		return 0
	}
	for at := from; at < x.physical(); at++ {
		for b, i := x.bucket(at), 1; i <= slotsPer; i++ {
			if b.slot(i) != 0 {
				return 0
			}
		}
	}
	u := x.dir[last]
	x.dir = x.dir[:last]
	return u
}
