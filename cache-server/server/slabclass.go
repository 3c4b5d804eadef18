// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

// slabClass is the slab class that memcached would keep an item of the given size in, as engine.ItemSize counts it
// and memcached cuts its slabs unless told otherwise. The engine has no classes; me shows one.
func slabClass(size int) int {
	const (
		smallest = 48 + 48 // an item's header, and what it holds at least
		largest  = 512 << 10
		factor   = 1.25
	)
	class := 1
	for chunk := float64(smallest); chunk < largest/factor; class++ {
		aligned := (int(chunk) + 7) &^ 7
		if size <= aligned {
			break
		}
		chunk = float64(aligned) * factor
	}
	return class
}
