// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resident is how many bytes of the arena the kernel holds in memory.
func (e *Engine) resident(t *testing.T) int64 {
	t.Helper()
	page := unix.Getpagesize()
	a := e.arena
	var n int64
	// Beyond the units ever handed out nothing was touched; the last bytes are looked at as well.
	for _, span := range [][]byte{a.mem[:uint64(a.start(e.pool.high))+uint64(a.unitSize())], a.mem[len(a.mem)-page:]} {
		for len(span) > 0 {
			part := span[:min(len(span), 64<<20)]
			vec := make([]byte, (len(part)+page-1)/page)
			_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&part[0])), uintptr(len(part)),
				uintptr(unsafe.Pointer(&vec[0])))
			if errno != 0 {
				t.Fatalf("mincore: %v", errno)
			}
			for _, v := range vec {
				n += int64(v&1) * int64(page)
			}
			span = span[len(part):]
		}
	}
	return n
}

// staysWithin checks that what is resident is counted, and that what is counted is within the budget.
func (e *Engine) staysWithin(t *testing.T) {
	t.Helper()
	s := e.Stats()
	if rss := e.resident(t); rss > s.MappedBytes || s.MappedBytes > s.LimitBytes {
		t.Errorf("%d bytes resident, %d counted, budget %d", rss, s.MappedBytes, s.LimitBytes)
	}
}

func TestMemoryStaysWithinTheBudget(t *testing.T) {
	rows := []struct {
		name   string
		budget int64
		item   int
		size   func(i int, r *rand.Rand) int
		total  int64 // bytes of values to write
	}{
		{"many tiny items", 4 << 20, 2 << 20, func(int, *rand.Rand) int { return 1 }, 1 << 18},
		{"items of a hundred bytes", 16 << 20, 1 << 20, func(int, *rand.Rand) int { return 100 }, 24 << 20},
		{"items of all sizes", 16 << 20, 1 << 20, func(_ int, r *rand.Rand) int { return 1 << r.IntN(20) }, 256 << 20},
		{"the largest items", 8 << 20, 4 << 20, func(int, *rand.Rand) int { return 4<<20 - 100 }, 256 << 20},
		{"the smallest budget", MinBytes, MinBytes / 2, func(_ int, r *rand.Rand) int { return r.IntN(MinBytes/2 - 100) },
			64 << 20},
		{"sizes in waves", 16 << 20, 1 << 20, func(i int, _ *rand.Rand) int { return 1 << (i / 500 % 19) },
			256 << 20},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			e := newEngine(t, Config{MaxBytes: row.budget, MaxItemSize: row.item})
			r := rand.New(rand.NewPCG(1, 2))
			value := make([]byte, row.item)
			left := row.total
			for i := 0; left > 0; i++ {
				n := row.size(i, r)
				left -= int64(n)
				key := fmt.Appendf(nil, "key-%d", i)
				if res := e.Apply(&Mutation{Verb: Set, Key: key, Value: value[:n]}); res.Outcome != Stored {
					t.Fatalf("set %d of %d bytes: %v", i, n, res.Outcome)
				}
				if v, _, ok := e.Get(nil, key); !ok || len(v) != n {
					t.Fatalf("get %d of %d bytes: %v with %d", i, n, ok, len(v))
				}
			}
			e.staysWithin(t)
			if s := e.Stats(); s.Evictions == 0 || s.MappedBytes < s.LimitBytes*9/10 {
				t.Errorf("the budget was not used up: %+v", s)
			}
		})
	}
}

func TestNothingFittingIsEverRefused(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 64 << 20, MaxItemSize: 32 << 20})
	value := make([]byte, 32<<20)
	var key [8]byte
	// Small items spread over all partitions, then one value of half the budget, and again.
	for round := range 4 {
		for i := range 100_000 {
			binary.LittleEndian.PutUint64(key[:], uint64(round<<32|i))
			e.Apply(&Mutation{Verb: Set, Key: key[:], Value: value[:200]})
		}
		for i := range 3 {
			m := Mutation{Verb: Set, Key: fmt.Appendf(nil, "large-%d", i), Value: value[:32<<20-100]}
			if res := e.Apply(&m); res.Outcome != Stored {
				t.Fatalf("round %d: %v: %+v", round, res.Outcome, e.Stats())
			}
		}
	}
	e.staysWithin(t)
}

func TestConcurrentLargeValuesAllFit(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 16 << 20, MaxItemSize: 8 << 20})
	done := make(chan Outcome)
	for w := range 4 {
		go func() {
			value := make([]byte, 8<<20-100)
			worst := Stored
			for i := range 10 {
				worst = max(worst, e.Apply(&Mutation{Verb: Set, Key: fmt.Appendf(nil, "%d-%d", w, i), Value: value}).Outcome)
			}
			done <- worst
		}()
	}
	for range 4 {
		if o := <-done; o != Stored {
			t.Errorf("got %v", o)
		}
	}
	e.staysWithin(t)
}

func TestBudgetFallsAndRisesWhileServing(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 64 << 20, MaxItemSize: 1 << 20})
	var key [8]byte
	value := make([]byte, 150)
	fill := func(n int) {
		for i := range n {
			binary.LittleEndian.PutUint64(key[:], rand.Uint64N(1<<40)+uint64(i))
			e.Apply(&Mutation{Verb: Set, Key: key[:], Value: value})
		}
	}
	fill(400_000)
	full := e.Stats()
	if err := e.SetBudget(8 << 20); err != nil {
		t.Fatal(err)
	}
	var slowest time.Duration
	deadline := time.Now().Add(60 * time.Second)
	for e.Stats().MappedBytes > 8<<20 {
		if time.Now().After(deadline) {
			t.Fatalf("the budget is not reached: %+v", e.Stats())
		}
		start := time.Now()
		fill(1)
		slowest = max(slowest, time.Since(start))
	}
	t.Logf("slowest request while the budget fell: %v", slowest)
	e.staysWithin(t)
	if s := e.Stats(); s.CurrItems == 0 || s.CurrItems > full.CurrItems/4 || s.LimitBytes != 8<<20 {
		t.Errorf("got %+v", s)
	}
	if err := e.SetBudget(64 << 20); err != nil {
		t.Fatal(err)
	}
	fill(400_000)
	e.staysWithin(t)
	if s := e.Stats(); s.CurrItems < full.CurrItems*9/10 {
		t.Errorf("%d items after the budget rose again, before it fell %d", s.CurrItems, full.CurrItems)
	}
}

// TestRequestsDoNotPayForAFallingBudget stops the keeper, so that requests alone could evict.
func TestRequestsDoNotPayForAFallingBudget(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 32 << 20, MaxItemSize: 1 << 20})
	set := func(i int) {
		e.Apply(&Mutation{Verb: Set, Key: fmt.Appendf(nil, "key-%d", i), Value: make([]byte, 150)})
	}
	for i := range 200_000 {
		set(i)
	}
	e.keeper.stop()
	if err := e.SetBudget(4 << 20); err != nil {
		t.Fatal(err)
	}
	before := e.Stats().Evictions
	for i := range 1000 {
		set(1_000_000 + i)
	}
	if n := e.Stats().Evictions - before; n > 30_000 {
		t.Errorf("1000 requests evicted %d items", n)
	}
	for e.maintain() {
	}
	e.staysWithin(t)
}

func TestBudgetsOutOfReachAreRefused(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 64 << 20, MaxItemSize: 8 << 20})
	for _, bytes := range []int64{-1, 0, 16<<20 - 1, 1<<30 + 1} {
		if err := e.SetBudget(bytes); err == nil {
			t.Errorf("budget %d was taken", bytes)
		}
	}
	for _, bytes := range []int64{16 << 20, 1 << 30, 64 << 20} {
		if err := e.SetBudget(bytes); err != nil || e.Stats().LimitBytes != bytes {
			t.Errorf("budget %d: %v, %+v", bytes, err, e.Stats())
		}
	}
}

func TestIndexShrinksWhenItemsGrow(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 16 << 20, MaxItemSize: 1 << 20})
	index := func() (units int) {
		for i := range e.parts {
			e.parts[i].mu.Lock()
			units += len(e.parts[i].idx.dir)
			e.parts[i].mu.Unlock()
		}
		return units
	}
	var key [8]byte
	for i := range 300_000 {
		binary.LittleEndian.PutUint64(key[:], uint64(i))
		e.Apply(&Mutation{Verb: Set, Key: key[:]})
	}
	most := index()
	value := make([]byte, 10_000)
	for i := range 5_000 {
		binary.LittleEndian.PutUint64(key[:], uint64(i)<<32)
		e.Apply(&Mutation{Verb: Set, Key: key[:], Value: value})
	}
	for deadline := time.Now().Add(30 * time.Second); index() > most/4; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the index has %d units, at its most it had %d", index(), most)
		}
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 64 << 20, MaxItemSize: 1 << 20})
	value, dst := make([]byte, 100), make([]byte, 0, 200_000)
	keys := make([][]byte, 1000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key-%d", i)
		e.Apply(&Mutation{Verb: Set, Key: keys[i], Value: value})
	}
	e.Apply(&Mutation{Verb: Set, Key: []byte("large"), Value: make([]byte, 150_000)})
	e.Apply(&Mutation{Verb: Set, Key: []byte("n"), Value: []byte("5")})
	i := 0
	var held Snapshot
	next := func() []byte { i++; return keys[i%len(keys)] }
	rows := []struct {
		name string
		run  func()
	}{
		{"get", func() { e.Get(dst, next()) }},
		{"get of a large value", func() { e.Get(dst, []byte("large")) }},
		{"get of a large value that is held", func() {
			e.Read(nil, &Read{Key: []byte("large"), Hold: &held})
			held.Release()
		}},
		{"peek", func() { e.Peek(next()) }},
		{"get of nothing", func() { e.Get(dst, value[:20]) }},
		{"get and touch", func() { e.GetAndTouch(dst, next(), 0) }},
		{"read", func() { e.Read(dst, &Read{Key: next(), Touch: true, Recache: true, RecacheBefore: 9}) }},
		{"read that vivifies", func() {
			e.Read(dst, &Read{Key: value[:20], Vivify: true, HasNewCAS: true})
			e.Apply(&Mutation{Verb: Delete, Key: value[:20]})
		}},
		{"invalidate", func() { e.Apply(&Mutation{Verb: Delete, Key: next(), Invalidate: true}) }},
		{"set with a CAS", func() { e.Apply(&Mutation{Verb: Set, Key: next(), Value: value, HasNewCAS: true}) }},
		{"set of the same size", func() { e.Apply(&Mutation{Verb: Set, Key: next(), Value: value}) }},
		{"set of another size", func() { e.Apply(&Mutation{Verb: Set, Key: next(), Value: value[:i%100]}) }},
		{"append", func() { e.Apply(&Mutation{Verb: Append, Key: next(), Value: value[:1]}) }},
		{"increment", func() { e.Apply(&Mutation{Verb: Increment, Key: []byte("n"), Delta: 1}) }},
		{"touch", func() { e.Apply(&Mutation{Verb: Touch, Key: next()}) }},
		{"delete and add", func() {
			e.Apply(&Mutation{Verb: Delete, Key: next()})
			e.Apply(&Mutation{Verb: Add, Key: keys[i%len(keys)], Value: value})
		}},
		{"statistics", func() { e.Stats() }},
	}
	for _, row := range rows {
		if n := testing.AllocsPerRun(2000, row.run); n != 0 {
			t.Errorf("%s allocates %v times", row.name, n)
		}
	}
}

// TestTheHeapStaysSmall holds many items and looks at what the garbage collector sees.
func TestTheHeapStaysSmall(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	e := newEngine(t, Config{MaxBytes: 128 << 20, MaxItemSize: 1 << 20})
	var key [8]byte
	for i := range 300_000 {
		binary.LittleEndian.PutUint64(key[:], uint64(i))
		e.Apply(&Mutation{Verb: Set, Key: key[:], Value: key[:]})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := e.Stats().CurrItems; n != 300_000 {
		t.Errorf("%d items are held", n)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

// TestDensity keeps what an item costs from growing unnoticed.
func TestDensity(t *testing.T) {
	const budget = 32 << 20 / slowdown
	for _, row := range []struct{ value, most int }{{10, 52}, {100, 143}, {273, 324}, {4096, 4320}, {50_000, 52_400}} {
		e := newEngine(t, Config{MaxBytes: budget, MaxItemSize: 1 << 20})
		value := bytes.Repeat([]byte("v"), row.value)
		var key [20]byte
		for i := range 2 * budget / (row.value + 20) {
			e.Apply(&Mutation{Verb: Set, Key: benchKey(key[:], uint64(i)), Value: value})
		}
		s := e.Stats()
		each := float64(budget) / float64(s.CurrItems)
		t.Logf("key of 20 bytes, value of %d: %.1f bytes each", row.value, each)
		if slowdown == 1 && each > float64(row.most) || s.Evictions == 0 {
			t.Errorf("value of %d: %.1f bytes each, more than %d; %+v", row.value, each, row.most, s)
		}
	}
}

// TestCraftedKeysDoNotDegradeTheIndex crafts keys that share a bucket of one engine. Another engine,
// whose hash has another key, spreads them as any others.
func TestCraftedKeysDoNotDegradeTheIndex(t *testing.T) {
	cfg := Config{MaxBytes: 16 << 20, MaxItemSize: 1 << 20}
	known, other := newEngine(t, cfg), newEngine(t, cfg)
	home := func(e *Engine, key []byte) [2]uint64 {
		h := e.hash(key)
		return [2]uint64{h & uint64(len(e.parts)-1), e.partition(h).idx.home(h)}
	}
	var crafted [][]byte
	want := home(known, []byte("first"))
	for i := 0; len(crafted) < 40; i++ {
		if key := fmt.Appendf(nil, "%d", i); home(known, key) == want {
			crafted = append(crafted, key)
		}
	}
	most, count := 0, map[[2]uint64]int{}
	for _, key := range crafted {
		at := home(other, key)
		count[at]++
		most = max(most, count[at])
	}
	if most > 4 {
		t.Errorf("%d of %d crafted keys share a bucket of another engine", most, len(crafted))
	}
}
