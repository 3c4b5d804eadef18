// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func randomBytes(b []byte, seed byte) {
	r := rand.NewChaCha8([32]byte{seed})
	_, _ = r.Read(b)
}

// describe makes a value that tells whether it is whole and whose it is.
func describe(buf, key []byte, size int, r *rand.Rand) []byte {
	buf = append(buf[:0], byte(len(key)))
	buf = append(buf, key...)
	for len(buf) < size {
		buf = binary.LittleEndian.AppendUint64(buf, r.Uint64())
	}
	return binary.LittleEndian.AppendUint32(buf, crc32.ChecksumIEEE(buf))
}

func described(v, key []byte) error {
	if len(v) < 5+len(key) || !bytes.Equal(v[1:1+len(key)], key) || int(v[0]) != len(key) {
		return fmt.Errorf("the value of %q is another's: %.40q", key, v)
	}
	body := v[:len(v)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(v[len(body):]) {
		return fmt.Errorf("the value of %q is torn", key)
	}
	return nil
}

// TestReadersNeverSeeWrongValues lets readers, writers, the keeper, a changing budget and Range work
// on one small engine that evicts all the time.
func TestReadersNeverSeeWrongValues(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 8 << 20, MaxItemSize: 1 << 20})
	sizes := []int{0, 20, 100, 100, 500, 3000, 20_000, 200_000}
	// A machine that is busy elsewhere takes longer until something is evicted.
	began := time.Now()
	goesOn := func() bool {
		passed := time.Since(began)
		return passed < 3*time.Second || passed < time.Minute && e.Stats().Evictions == 0
	}
	var wg sync.WaitGroup
	work := func(fn func(r *rand.Rand, key []byte)) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(rand.Uint64(), 1))
			var key []byte
			for goesOn() {
				for range 50 {
					n := r.IntN(3000)
					key = fmt.Appendf(key[:0], "key-%d", n*n/3000)
					fn(r, key)
				}
			}
		})
	}
	for range 2 {
		var buf []byte
		work(func(r *rand.Rand, key []byte) {
			var m Mutation
			switch r.IntN(20) {
			case 0:
				m = Mutation{Verb: Delete, Key: key}
			case 1:
				m = Mutation{Verb: Touch, Key: key, Expires: e.Now() + int64(r.IntN(3))}
			default:
				buf = describe(buf, key, sizes[r.IntN(len(sizes))], r)
				m = Mutation{Verb: Set, Key: key, Value: buf, Flags: uint32(r.IntN(2)), Expires: e.Now() + int64(r.IntN(5))}
			}
			switch res := e.Apply(&m); res.Outcome {
			case Stored, NotFound, Deleted, Touched:
			default:
				t.Errorf("%v: %v", m.Verb, res.Outcome)
			}
		})
	}
	for range 3 {
		var dst []byte
		work(func(_ *rand.Rand, key []byte) {
			v, it, ok := e.Get(dst[:0], key)
			if !ok {
				return
			}
			dst = v
			if err := described(v, key); err != nil || it.Size != len(v) {
				t.Errorf("%v (size %d of %d)", err, it.Size, len(v))
			}
		})
	}
	wg.Go(func() {
		for i := 0; goesOn(); i++ {
			if err := e.SetBudget(int64(4+i%8) << 20); err != nil {
				t.Error(err)
			}
			e.Range(func(key []byte, _ Item) bool {
				if !strings.HasPrefix(string(key), "key-") {
					t.Errorf("range: %q", key)
				}
				return true
			})
			if i%10 == 0 {
				e.FlushAll(0)
			}
			e.Stats()
			time.Sleep(time.Millisecond)
		}
	})
	wg.Wait()
	if s := e.Stats(); s.Evictions == 0 {
		t.Errorf("nothing was evicted: %+v", s)
	}
}

// TestOperationsOnOneKeyAreAtomic counts with every verb that can.
func TestOperationsOnOneKeyAreAtomic(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 4 << 20, MaxItemSize: 1 << 20})
	e.Apply(&Mutation{Verb: Set, Key: []byte("n"), Value: []byte("0")})
	e.Apply(&Mutation{Verb: Set, Key: []byte("s"), Value: nil})
	e.Apply(&Mutation{Verb: Set, Key: []byte("c"), Value: []byte{0, 0}})
	const each, workers = 2000, 4
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				e.Apply(&Mutation{Verb: Increment, Key: []byte("n"), Delta: 1})
				e.Apply(&Mutation{Verb: Append, Key: []byte("s"), Value: []byte("x")})
				for {
					v, it, _ := e.Get(nil, []byte("c"))
					next := binary.LittleEndian.AppendUint16(nil, binary.LittleEndian.Uint16(v)+1)
					if e.Apply(&Mutation{Verb: CompareAndSwap, Key: []byte("c"), Value: next, CAS: it.CAS}).Outcome == Stored {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	n, _, _ := e.Get(nil, []byte("n"))
	s, _, _ := e.Get(nil, []byte("s"))
	c, _, _ := e.Get(nil, []byte("c"))
	if string(n) != fmt.Sprint(each*workers) || len(s) != each*workers || binary.LittleEndian.Uint16(c) != each*workers {
		t.Errorf("got %s, %d and %d, want %d", n, len(s), binary.LittleEndian.Uint16(c), each*workers)
	}
}

func TestCASValuesAreUniqueAndRise(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 4 << 20, MaxItemSize: 1 << 20})
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			var last uint64
			for i := range 5000 {
				res := e.Apply(&Mutation{Verb: Set, Key: fmt.Appendf(nil, "%d-%d", w, i%100), Value: []byte("v")})
				mu.Lock()
				if seen[res.CAS] || res.CAS <= last {
					t.Errorf("CAS %d after %d", res.CAS, last)
				}
				seen[res.CAS] = true
				mu.Unlock()
				last = res.CAS
			}
		})
	}
	wg.Wait()
}

func TestCloseEndsTheKeeperAndOperationsUnderWay(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		e, err := New(Config{MaxBytes: 4 << 20, MaxItemSize: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for w := range 3 {
			wg.Go(func() {
				for i := range 300 {
					e.Apply(&Mutation{Verb: Set, Key: fmt.Appendf(nil, "%d-%d", w, i), Value: make([]byte, 300<<(i%12))})
					e.Get(nil, fmt.Appendf(nil, "%d-%d", w, i))
				}
			})
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, before there were %d", runtime.NumGoroutine(), before)
		}
	}
}
