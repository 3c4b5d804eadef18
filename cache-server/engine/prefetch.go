// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import "unsafe"

// PrefetchKeys is how many keys Prefetch looks at.
const PrefetchKeys = 16

const cacheLine = 64

// Prefetch has the memory of items brought near whose keys are about to be read or written, so that the waits for it
// overlap instead of following each other. It changes nothing, and looks at the first PrefetchKeys keys alone.
func (e *Engine) Prefetch(keys [][]byte) {
	var hashes [PrefetchKeys]uint64
	keys = keys[:min(len(keys), PrefetchKeys)]
	for i, key := range keys {
		h := e.hash(key)
		hashes[i] = h
		p := e.partition(h)
		p.mu.Lock()
		if !p.closed && p.a.lazy == nil {
			prefetch(unsafe.Pointer(p.idx.bucketAt(p.idx.home(h))))
		}
		p.mu.Unlock()
	}
	for _, h := range hashes[:len(keys)] {
		p := e.partition(h)
		p.mu.Lock()
		if !p.closed && p.a.lazy == nil {
			p.idx.prefetchRecords(h)
		}
		p.mu.Unlock()
	}
}

// prefetchRecords brings near what an item with this hash most likely begins with: nearly all stand in their home
// bucket, with header, key and a short value in two cache lines.
func (x *index) prefetchRecords(h uint64) {
	b := x.bucketAt(x.home(h))
	tag := x.a.hashTag(h)
	for i := 1; i <= slotsPer; i++ {
		if s := b.slot(i); s != 0 && x.a.slotTag(s) == tag {
			at := unsafe.Add(x.a.base, x.a.slotRef(s))
			prefetch(at)
			prefetch(unsafe.Add(at, cacheLine))
		}
	}
}
