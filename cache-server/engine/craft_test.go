// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// The functions here make many keys with one hash, as an attacker would: lookup3 and murmur3 can be run backwards, so
// that a second half is found for any first half; for FNV pairs are searched for, one behind the other.

// lookup3 is Jenkins' hash of a key of 24 bytes, with initial value 0.
func lookup3(key []byte) uint32 {
	a, b, c := lookup3Block(key[:12])
	a += binary.LittleEndian.Uint32(key[12:])
	b += binary.LittleEndian.Uint32(key[16:])
	c += binary.LittleEndian.Uint32(key[20:])
	x := [3]uint32{c, a, b}
	for _, r := range []int{14, 11, 25, 16, 4, 14, 24} {
		x = [3]uint32{x[1], x[2], (x[0] ^ x[2]) - bits.RotateLeft32(x[2], r)}
	}
	return x[2]
}

// lookup3Block takes in the first block of such a key and mixes.
func lookup3Block(block []byte) (a, b, c uint32) {
	const start = 0xdeadbeef + 24
	a = start + binary.LittleEndian.Uint32(block)
	b = start + binary.LittleEndian.Uint32(block[4:])
	c = start + binary.LittleEndian.Uint32(block[8:])
	for _, r := range []int{4, 6, 8, 16, 19, 4} {
		a = (a - c) ^ bits.RotateLeft32(c, r)
		c += b
		a, b, c = b, c, a
	}
	return a, b, c
}

func craftLookup3(rng *rand.Rand) [][]byte {
	keys := make([][]byte, floodKeys)
	for i := range keys {
		key := randomKey(rng, 12)
		a, b, c := lookup3Block(key)
		key = binary.LittleEndian.AppendUint32(key, 1-a)
		key = binary.LittleEndian.AppendUint32(key, 2-b)
		keys[i] = binary.LittleEndian.AppendUint32(key, 3-c)
	}
	return keys
}

const murmurC1, murmurC2, murmurAdd = 0xcc9e2d51, 0x1b873593, 0xe6546b64

// murmur3Block takes in four bytes.
func murmur3Block(h, k uint32) uint32 {
	k = bits.RotateLeft32(k*murmurC1, 15) * murmurC2
	return bits.RotateLeft32(h^k, 13)*5 + murmurAdd
}

// murmur3 is the 32-bit hash of a key of whole blocks, with seed 0.
func murmur3(key []byte) uint32 {
	var h uint32
	for i := 0; i < len(key); i += 4 {
		h = murmur3Block(h, binary.LittleEndian.Uint32(key[i:]))
	}
	h ^= uint32(len(key))
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}

// inverse is what an odd number times itself is 1.
func inverse(n uint32) uint32 {
	x := n
	for range 5 {
		x *= 2 - n*x
	}
	return x
}

func craftMurmur3(rng *rand.Rand) [][]byte {
	target, add := uint32(42), uint32(murmurAdd) // variables, because the difference wraps
	mixed := bits.RotateLeft32((target-add)*inverse(5), -13)
	keys := make([][]byte, floodKeys)
	for i := range keys {
		key := randomKey(rng, 4)
		k := murmur3Block(0, binary.LittleEndian.Uint32(key)) ^ mixed
		k = bits.RotateLeft32(k*inverse(murmurC2), -15) * inverse(murmurC1)
		keys[i] = binary.LittleEndian.AppendUint32(key, k)
	}
	return keys
}

func fnv1a(key []byte) uint32 {
	return fnv1aFrom(2166136261, key)
}

func fnv1aFrom(h uint32, key []byte) uint32 {
	for _, b := range key {
		h = (h ^ uint32(b)) * 16777619
	}
	return h
}

// craftFNV finds twelve pairs of pieces that lead from one state to one other: any choice of them has one hash.
func craftFNV(rng *rand.Rand) [][]byte {
	keys, state := [][]byte{nil}, fnv1a(nil)
	for len(keys) < floodKeys {
		seen := make(map[uint32][]byte)
		for {
			piece := randomKey(rng, 6)
			after := fnv1aFrom(state, piece)
			other, found := seen[after]
			if !found || string(other) == string(piece) {
				seen[after] = piece
				continue
			}
			var longer [][]byte
			for _, key := range keys {
				longer = append(longer, append(key[:len(key):len(key)], piece...), append(key[:len(key):len(key)], other...))
			}
			keys, state = longer, after
			break
		}
	}
	return keys
}

func randomKey(rng *rand.Rand, n int) []byte {
	key := make([]byte, n)
	for i := range key {
		key[i] = byte(rng.Uint32())
	}
	return key
}
