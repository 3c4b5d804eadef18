// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

const floodKeys = 4096

// TestCraftedKeysAreFoundAsFastAsOthers floods an engine with keys that all have one hash under the hashes that caches
// commonly use without a key. The work of finding them is counted in buckets.
func TestCraftedKeysAreFoundAsFastAsOthers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := make([][]byte, floodKeys)
	for i := range random {
		random[i] = fmt.Appendf(nil, "random:%020d", rng.Uint64())
	}
	usual, _, _ := flood(t, random)
	for _, c := range []struct {
		name string
		hash func([]byte) uint32
		keys func(*rand.Rand) [][]byte
	}{
		{"jenkins, memcached's of old", lookup3, craftLookup3},
		{"murmur3 with seed 0, memcached's of today", murmur3, craftMurmur3},
		{"FNV-1a, of many clients and caches", fnv1a, craftFNV},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys := c.keys(rng)
			different := make(map[string]bool)
			for _, key := range keys {
				different[string(key)] = true
				if c.hash(key) != c.hash(keys[0]) {
					t.Fatalf("%x and %x do not meet", key, keys[0])
				}
			}
			if len(different) != floodKeys {
				t.Fatalf("there are %d different keys, want %d", len(different), floodKeys)
			}
			looked, longest, fullest := flood(t, keys)
			t.Logf("%d keys: %d buckets looked at (%d for random keys), %d at most for one, %d keys in the fullest partition",
				floodKeys, looked, usual, longest, fullest)
			if looked > usual+usual/4 || longest > 6 {
				t.Errorf("finding them takes %d buckets and up to %d for one; random keys take %d", looked, longest, usual)
			}
		})
	}
}

// flood stores the keys in an engine and counts the buckets that are looked at to find each once, all together and at
// most for one, and the keys in the partition that has most.
func flood(t *testing.T, keys [][]byte) (looked, longest uint64, fullest int) {
	t.Helper()
	e := newEngine(t, Config{MaxBytes: 16 << 20, MaxItemSize: 1 << 20})
	inPartition := make(map[*partition]int)
	for _, key := range keys {
		if r := e.Apply(&Mutation{Verb: Set, Key: key, Value: []byte("x")}); r.Outcome != Stored {
			t.Fatalf("store %x: %v", key, r.Outcome)
		}
		inPartition[e.partition(e.hash(key))]++
	}
	for _, key := range keys {
		h := e.hash(key)
		p := e.partition(h)
		p.mu.Lock()
		at, hd := p.idx.find(h, key)
		p.mu.Unlock()
		if hd == nil {
			t.Fatalf("%x is not there", key)
		}
		looked += at.at - at.home + 1
		longest = max(longest, at.at-at.home+1)
	}
	for _, n := range inPartition {
		fullest = max(fullest, n)
	}
	return looked, longest, fullest
}
