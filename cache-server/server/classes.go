// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import "cmp"

// Shape of memcached's slab classes where nothing else is asked for.
const (
	defaultFactor   = 1.25
	defaultMinSize  = 48
	defaultChunkMax = 512 << 10

	slabItemHeader = 48
	slabPage       = 1 << 20
	maxClasses     = 63
)

// slabClasses is the table of slab classes that memcached would use. The engine has none: they are shown because
// tools ask for them, and the class of an item says how large it is.
type slabClasses struct {
	// sizes are the chunk sizes of the classes 1, 2 and so on, in bytes.
	sizes    []int
	chunkMax int
}

// newSlabClasses makes the table: each class is larger than the one before by the factor, in steps of 8 bytes, and
// the last holds whatever is larger.
func newSlabClasses(s *Settings) slabClasses {
	factor := cmp.Or(s.SlabFactor, defaultFactor)
	t := slabClasses{chunkMax: cmp.Or(s.SlabChunkMax, defaultChunkMax)}
	size := slabItemHeader + cmp.Or(s.SlabMinSize, defaultMinSize)
	for len(t.sizes) < maxClasses-1 && float64(size) < float64(t.chunkMax)/factor {
		size = (size + 7) &^ 7
		t.sizes = append(t.sizes, size)
		size = max(int(float64(size)*factor), size+1)
	}
	t.sizes = append(t.sizes, t.chunkMax)
	return t
}

// SizeClasses are the bounds of the classes that statistics show, for engine.Config.
func SizeClasses(s Settings) []int {
	t := newSlabClasses(&s)
	return t.sizes
}

// of is the class of an item of a size as engine.ItemSize counts it.
func (t *slabClasses) of(size int) int {
	low, high := 0, len(t.sizes)-1
	for low < high {
		if mid := (low + high) / 2; t.sizes[mid] < size {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low + 1
}
