// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// sipHash is SipHash-c-d written down as its paper describes it, to compare with.
func sipHash(c, d int, k hashKey, msg []byte) uint64 {
	s := k.sip()
	padded := append([]byte{}, msg...)
	for len(padded)%8 != 7 {
		padded = append(padded, 0)
	}
	padded = append(padded, byte(len(msg)))
	for ; len(padded) > 0; padded = padded[8:] {
		m := binary.LittleEndian.Uint64(padded)
		s.v3 ^= m
		for range c {
			s = s.round()
		}
		s.v0 ^= m
	}
	s.v2 ^= 0xff
	for range d {
		s = s.round()
	}
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

func TestHashIsSipHash(t *testing.T) {
	// The test vector of the paper, appendix A, for two and four rounds.
	msg := make([]byte, 15)
	for i := range msg {
		msg[i] = byte(i)
	}
	if got := sipHash(2, 4, hashKey{0x0706050403020100, 0x0f0e0d0c0b0a0908}, msg); got != 0xa129ca6149be45e5 {
		t.Fatalf("the round is not SipHash's: %x", got)
	}
	// CPython 3.11 hashes strings with one and three rounds; these are under the key 0 (PYTHONHASHSEED=0).
	for key, want := range map[string]uint64{
		"a": 0x407448d2b89b1813, "abcdefg": 0x6db12aae9070f506, "abcdefgh": 0x3f7b849c0b8e35ea,
		"abcdefghijklmnopqrstuvwxyz": 0x323ccd2fd30709df,
	} {
		if got := (hashKey{}).sum([]byte(key)); got != want {
			t.Errorf("%q: got %x, want %x", key, got, want)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for n := range MaxKeyLen + 1 {
		k, key := hashKey{r.Uint64(), r.Uint64()}, pattern(byte(r.Uint32()), n)
		if got, want := k.sum(key), sipHash(1, 3, k, key); got != want {
			t.Errorf("%d bytes: got %x, want %x", n, got, want)
		}
	}
}

// TestAFloodOfChosenKeysLeavesSearchesShort chooses keys that all meet in one bucket under a key of the attacker's
// guess, and stores them under the engine's own.
func TestAFloodOfChosenKeysLeavesSearchesShort(t *testing.T) {
	const flood = 40_000 / slowdown
	e := newEngine(t, Config{MaxBytes: 64 << 20, MaxItemSize: 1 << 20})
	guess, stored := hashKey{1, 2}, 0
	for i := 0; stored < flood; i++ {
		key := fmt.Appendf(nil, "%d", i)
		if h := guess.sum(key); h>>57 != 0 { // all in one part of 128 of the index
			continue
		}
		if e.Apply(&Mutation{Verb: Set, Key: key}).Outcome != Stored {
			t.Fatalf("%s is not stored", key)
		}
		stored++
	}
	longest, passed, buckets := 0, 0, 0
	for i := range e.parts {
		x := &e.parts[i].idx
		run := 0
		for at := range x.physical() {
			buckets++
			if x.bucket(at).passed() == 0 {
				run = 0
				continue
			}
			passed++
			run++
			longest = max(longest, run)
		}
	}
	t.Logf("%d keys: %d of %d buckets are passed, at most %d in a row", stored, passed, buckets, longest)
	if longest > 40 || passed > buckets/2 {
		t.Errorf("%d keys: %d of %d buckets are passed, %d in a row", stored, passed, buckets, longest)
	}
}
