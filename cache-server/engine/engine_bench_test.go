// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// benchKey writes the i-th key of 20 bytes.
func benchKey(buf []byte, i uint64) []byte {
	buf = append(buf[:0], "key:0000000000000000"...)
	const digits = "0123456789abcdef"
	for j := len(buf) - 1; i > 0; j-- {
		buf[j] = digits[i&15]
		i >>= 4
	}
	return buf
}

// reportCPU reports the processor time of each operation: other work on the machine does not count.
func reportCPU(b *testing.B, run func()) {
	b.Helper()
	used := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := used()
	run()
	b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op")
}

func benchEngine(b *testing.B, items, valueLen int) *Engine {
	b.Helper()
	e := newEngine(b, Config{MaxBytes: 256 << 20, MaxItemSize: 1 << 20})
	value := make([]byte, valueLen)
	var buf [20]byte
	for i := range items {
		e.Apply(&Mutation{Verb: Set, Key: benchKey(buf[:], uint64(i)), Value: value})
	}
	return e
}

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{100, 4096} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			const items = 40_000
			e := benchEngine(b, items, size)
			reportCPU(b, func() {
				b.RunParallel(func(pb *testing.PB) {
					r := rand.New(rand.NewPCG(1, rand.Uint64()))
					var buf [20]byte
					dst := make([]byte, 0, size)
					for pb.Next() {
						if _, _, ok := e.Get(dst, benchKey(buf[:], r.Uint64N(items))); !ok {
							b.Error("miss")
						}
					}
				})
			})
		})
	}
}

// BenchmarkGetCold reads from far more items than the processor's caches hold.
func BenchmarkGetCold(b *testing.B) {
	const items = 1_000_000
	e := benchEngine(b, items, 100)
	reportCPU(b, func() {
		b.RunParallel(func(pb *testing.PB) {
			r := rand.New(rand.NewPCG(1, rand.Uint64()))
			var buf [20]byte
			dst := make([]byte, 0, 100)
			for pb.Next() {
				if _, _, ok := e.Get(dst, benchKey(buf[:], r.Uint64N(items))); !ok {
					b.Error("miss")
				}
			}
		})
	})
}

func BenchmarkSet(b *testing.B) {
	run := func(name string, items int, keys uint64, valueLen, spread int) {
		b.Run(name, func(b *testing.B) {
			e := benchEngine(b, items, valueLen)
			reportCPU(b, func() {
				b.RunParallel(func(pb *testing.PB) {
					r := rand.New(rand.NewPCG(1, rand.Uint64()))
					var buf [20]byte
					value := make([]byte, valueLen+spread)
					m := Mutation{Verb: Set}
					for pb.Next() {
						m.Key = benchKey(buf[:], r.Uint64N(keys))
						m.Value = value[:valueLen+int(r.Uint64N(uint64(spread)+1))]
						e.Apply(&m)
					}
				})
			})
		})
	}
	run("in place", 0, 40_000, 100, 0)
	run("other sizes", 0, 40_000, 100, 200)
	run("filling", 0, 1<<40, 100, 0)
	run("evicting", 2_500_000, 1<<40, 100, 0) // half as many again as fit
	run("evicting large", 4000, 1<<40, 100_000, 0)
}

// BenchmarkMixed is nine gets and one set of keys that are used very unevenly, with eviction.
func BenchmarkMixed(b *testing.B) {
	e := benchEngine(b, 0, 0)
	var hits atomic.Int64
	reportCPU(b, func() {
		b.RunParallel(func(pb *testing.PB) {
			r := rand.New(rand.NewPCG(1, rand.Uint64()))
			z := rand.NewZipf(r, 1.05, 1, 1<<24)
			var buf [20]byte
			value, dst := make([]byte, 300), make([]byte, 0, 400)
			found := 0
			for pb.Next() {
				key := benchKey(buf[:], z.Uint64())
				if _, _, ok := e.Get(dst, key); ok {
					found++
					continue
				}
				binary.LittleEndian.PutUint64(value, r.Uint64())
				e.Apply(&Mutation{Verb: Set, Key: key, Value: value})
			}
			hits.Add(int64(found))
		})
	})
	b.ReportMetric(float64(hits.Load())/float64(b.N), "hits/op")
}
