// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// hashKey keys the hash of an engine, so that nobody who does not know it can choose keys that meet in
// one bucket. Unlike a maphash.Seed it can be kept over a restart.
type hashKey struct{ a, b uint64 }

func newHashKey() hashKey {
	var buf [16]byte
	_, _ = rand.Read(buf[:]) // never fails: see crypto/rand
	return hashKey{binary.LittleEndian.Uint64(buf[:8]), binary.LittleEndian.Uint64(buf[8:])}
}

// sipState is the state of SipHash (Aumasson and Bernstein, INDOCRYPT 2012).
type sipState struct{ v0, v1, v2, v3 uint64 }

func (s sipState) round() sipState {
	s.v0 += s.v1
	s.v1 = bits.RotateLeft64(s.v1, 13) ^ s.v0
	s.v0 = bits.RotateLeft64(s.v0, 32)
	s.v2 += s.v3
	s.v3 = bits.RotateLeft64(s.v3, 16) ^ s.v2
	s.v0 += s.v3
	s.v3 = bits.RotateLeft64(s.v3, 21) ^ s.v0
	s.v2 += s.v1
	s.v1 = bits.RotateLeft64(s.v1, 17) ^ s.v2
	s.v2 = bits.RotateLeft64(s.v2, 32)
	return s
}

func (k hashKey) sip() sipState {
	return sipState{
		k.a ^ 0x736f6d6570736575, k.b ^ 0x646f72616e646f6d,
		k.a ^ 0x6c7967656e657261, k.b ^ 0x7465646279746573,
	}
}

// sum is SipHash-1-3: one round a word and three at the end. That is what hash tables need, whose hashes
// nobody sees; it is what the tables of Rust, Ruby and CPython use.
func (k hashKey) sum(key []byte) uint64 {
	s := k.sip()
	last := uint64(len(key)) << 56
	p := key
	for ; len(p) >= 8; p = p[8:] {
		m := binary.LittleEndian.Uint64(p)
		s.v3 ^= m
		s = s.round()
		s.v0 ^= m
	}
	last |= tail(key, p)
	s.v3 ^= last
	s = s.round()
	s.v0 ^= last
	s.v2 ^= 0xff
	s = s.round()
	s = s.round()
	s = s.round()
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

// tail is what is left of a key, less than a word, as a number.
func tail(key, rest []byte) uint64 {
	n := len(rest)
	if n == 0 {
		return 0
	}
	if len(key) >= 8 {
		// The last eight bytes of the key end with it.
		return binary.LittleEndian.Uint64(key[len(key)-8:]) >> (64 - 8*n)
	}
	var m uint64
	for i, c := range rest {
		m |= uint64(c) << (8 * i)
	}
	return m
}
