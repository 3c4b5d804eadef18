// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"testing"
	"unsafe"
)

func TestPrefetchChangesNothing(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 8 << 20, MaxItemSize: 1 << 20})
	var keys [][]byte
	for i := range 3 * PrefetchKeys {
		key := fmt.Appendf(nil, "key%d", i)
		keys = append(keys, key)
		if i%2 == 0 {
			e.Apply(&Mutation{Verb: Set, Key: key, Value: []byte("value")})
		}
	}
	before := e.Stats()
	e.Prefetch(nil)
	e.Prefetch(keys[:1])
	if allocations := testing.AllocsPerRun(100, func() { e.Prefetch(keys) }); allocations != 0 {
		t.Errorf("%g allocations a call, want none", allocations)
	}
	if after := e.Stats(); after != before {
		t.Errorf("the statistics went from %+v to %+v", before, after)
	}
	for i, key := range keys {
		it, ok := e.Peek(key)
		if ok != (i%2 == 0) || it.Fetched {
			t.Errorf("key %d: there is %v, fetched %v", i, ok, it.Fetched)
		}
	}
}

func TestPrefetchOfAClosedEngineDoesNothing(t *testing.T) {
	e, err := New(Config{MaxBytes: 8 << 20, MaxItemSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.Prefetch([][]byte{[]byte("a"), []byte("b")})
}

func TestPrefetchOfNowhereDoesNotFault(t *testing.T) {
	prefetch(nil)
	prefetch(unsafe.Pointer(t))
}
