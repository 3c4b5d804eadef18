// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// fillWith stores values of 100 bytes until the budget is used up.
func fillWith(b *testing.B, e *Engine, budget int64) (items uint64) {
	b.Helper()
	value, key := make([]byte, 100), make([]byte, 20)
	for items = range uint64(budget / 140) {
		binary.LittleEndian.PutUint64(key, items)
		e.Apply(&Mutation{Verb: Set, Key: key, Value: value})
	}
	return items
}

// BenchmarkSealAndAttach tells how long a graceful stop, the next start, its first get, and the verification in
// the background take.
func BenchmarkSealAndAttach(b *testing.B) {
	for _, size := range []int64{64 << 20, 1 << 30, 4 << 30} {
		b.Run(fmt.Sprintf("%dMiB", size>>20), func(b *testing.B) {
			path, cfg := arenaPath(b), Config{MaxBytes: size, MaxItemSize: 1 << 20}
			e, _ := fileEngine(b, path, cfg)
			fillWith(b, e, size)
			var seal, attach, first, verify time.Duration
			b.ResetTimer()
			for range b.N {
				started := time.Now()
				if err := e.Seal(context.Background()); err != nil {
					b.Fatal(err)
				}
				seal += time.Since(started)
				started = time.Now()
				var report Report
				if e, report = fileEngine(b, path, cfg); !report.Warm {
					b.Fatal(report.Reason)
				}
				attach += time.Since(started)
				started = time.Now()
				e.Get(nil, make([]byte, 20))
				first += time.Since(started)
				for e.Stats().Unverified > 0 {
					time.Sleep(time.Millisecond)
				}
				verify += time.Since(started)
			}
			each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) / 1000 }
			b.ReportMetric(each(seal), "seal-ms")
			b.ReportMetric(each(attach), "attach-ms")
			b.ReportMetric(each(first), "first-get-ms")
			b.ReportMetric(each(verify), "verified-ms")
		})
	}
}

// BenchmarkReadsWhileTheBudgetFalls reads while the budget falls from 1 GiB to 256 MiB, and before.
func BenchmarkReadsWhileTheBudgetFalls(b *testing.B) {
	const full, low = 1 << 30, 256 << 20
	for range b.N {
		e, err := New(Config{MaxBytes: full, MaxItemSize: 1 << 20})
		if err != nil {
			b.Fatal(err)
		}
		items := fillWith(b, e, full)
		read := func(until func() bool) (times []time.Duration) {
			key, dst := make([]byte, 20), make([]byte, 0, 200)
			for !until() {
				for range 1000 {
					binary.LittleEndian.PutUint64(key, rand.Uint64N(items))
					started := time.Now()
					e.Get(dst, key)
					times = append(times, time.Since(started))
				}
			}
			slices.Sort(times)
			return times
		}
		rounds := 0
		calm := read(func() bool { rounds++; return rounds > 1000 })
		if err := e.SetBudget(low); err != nil {
			b.Fatal(err)
		}
		started := time.Now()
		busy := read(func() bool { _, mapped := e.Budget(); return mapped <= low })
		took := time.Since(started)
		us := func(times []time.Duration, per int) float64 {
			return float64(times[len(times)-1-len(times)/per].Nanoseconds()) / 1000
		}
		b.ReportMetric(us(calm, 1000), "calm-p99.9-µs")
		b.ReportMetric(us(busy, 1000), "falling-p99.9-µs")
		b.ReportMetric(us(busy, len(busy)), "falling-most-µs")
		b.ReportMetric(float64(took.Milliseconds()), "fall-ms")
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
