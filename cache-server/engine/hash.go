// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/dchest/siphash"
)

// hashKey keys the hash of an engine, so that nobody who does not know it can choose keys that meet in
// one bucket. Unlike a maphash.Seed it can be kept over a restart.
type hashKey struct{ a, b uint64 }

func newHashKey() hashKey {
	var buf [16]byte
	_, _ = rand.Read(buf[:]) // never fails: see crypto/rand
	return hashKey{binary.LittleEndian.Uint64(buf[:8]), binary.LittleEndian.Uint64(buf[8:])}
}

// sum is SipHash-2-4 (Aumasson and Bernstein, INDOCRYPT 2012).
func (k hashKey) sum(key []byte) uint64 { return siphash.Hash(k.a, k.b, key) }
