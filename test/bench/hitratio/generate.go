// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "math/rand/v2"

// seed makes the generated traces the same on every machine.
const seed = 20261124

// generated are the traces that need no file: half a million requests each.
var generated = []struct {
	name, help string
	next       func(i int, r *rand.Rand, z *rand.Zipf) uint64
}{
	{"zipf", "uneven use that does not change", func(_ int, _ *rand.Rand, z *rand.Zipf) uint64 { return z.Uint64() }},
	{"drift", "uneven use whose favourites change slowly", func(i int, _ *rand.Rand, z *rand.Zipf) uint64 {
		return z.Uint64() + uint64(i/50)
	}},
	{"scan", "uneven use, and scans of 25,000 objects in between", func(i int, _ *rand.Rand, z *rand.Zipf) uint64 {
		if i%100_000 < 50_000 && i%2 == 0 {
			return 1<<40 + uint64(i%100_000)
		}
		return z.Uint64()
	}},
	{"one-hit", "uneven use, and as many requests for objects used once", func(i int, r *rand.Rand, z *rand.Zipf) uint64 {
		if r.IntN(2) == 0 {
			return 1<<40 + uint64(i)
		}
		return z.Uint64()
	}},
	{"loop", "a loop over 60,000 objects", func(i int, _ *rand.Rand, _ *rand.Zipf) uint64 { return uint64(i % 60_000) }},
}

const generatedRequests = 500_000

// generate makes one of the generated traces. It returns nil if there is none of that name.
func generate(name string) []request {
	for _, g := range generated {
		if g.name != name {
			continue
		}
		r := rand.New(rand.NewPCG(seed, uint64(len(name))))
		z := rand.NewZipf(r, 1.01, 1, 1<<20)
		reqs := make([]request, generatedRequests)
		for i := range reqs {
			reqs[i].object = g.next(i, r, z)
		}
		return reqs
	}
	return nil
}
