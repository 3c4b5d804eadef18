// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
)

// limited is a file system in which the kernel limits this process.
func limited(version int, limit string) fstest.MapFS {
	if version == 2 {
		return fstest.MapFS{
			"proc/self/cgroup":         {Data: []byte("0::/\n")},
			"sys/fs/cgroup/memory.max": {Data: []byte(limit + "\n")},
		}
	}
	return fstest.MapFS{
		"proc/self/cgroup":                           {Data: []byte("4:memory:/\n")},
		"sys/fs/cgroup/memory/memory.limit_in_bytes": {Data: []byte(limit + "\n")},
	}
}

func TestTheHeapsLimitFollowsTheArenaAndTheKernel(t *testing.T) {
	const mi = 1 << 20
	for _, version := range []int{1, 2} {
		var got int64
		h := newHeap(mi, 1024, false)
		h.root, h.set = limited(version, fmt.Sprint(512*mi)), func(bytes int64) { got = bytes }
		h.follow(64 * mi)
		low := got
		h.follow(256 * mi)
		if got >= low || got < leastOverhead(mi, 1024) || got+256*mi > 512*mi {
			t.Errorf("version %d: an arena of 256 MiB leaves %d, one of 64 MiB %d", version, got, low)
		}
		h.follow(64 * mi)
		if got != low {
			t.Errorf("version %d: back at 64 MiB it is %d, it was %d", version, got, low)
		}
		h.root = limited(version, fmt.Sprint(1024*mi)) // as a resize of the pod does
		h.follow(64 * mi)
		if got <= low+256*mi {
			t.Errorf("version %d: twice the limit leaves %d, before it was %d", version, got, low)
		}
		if h.admit(900*mi) != nil || h.admit(1020*mi) == nil {
			t.Errorf("version %d: of 1 GiB, 900 MiB: %v, 1020 MiB: %v", version, h.admit(900*mi), h.admit(1020*mi))
		}
	}
}

func TestWithoutAKernelsLimitTheHeapIsLeftAlone(t *testing.T) {
	h := newHeap(1<<20, 1024, false)
	h.root, h.set = fstest.MapFS{}, func(bytes int64) { t.Errorf("it was set to %d", bytes) }
	h.follow(64 << 20)
	if err := h.admit(1 << 40); err != nil {
		t.Error(err)
	}
}

// TestTheHeapsLimitRisesAsTheArenaGivesBack has an arena whose budget falls.
func TestTheHeapsLimitRisesAsTheArenaGivesBack(t *testing.T) {
	const mi = 1 << 20
	e, err := engine.New(engine.Config{MaxBytes: 64 * mi, MaxItemSize: mi})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	for i := range 400 {
		e.Apply(&engine.Mutation{Verb: engine.Set, Key: fmt.Append(nil, i), Value: make([]byte, 200_000)})
	}
	limits := make(chan int64, 1000)
	h := newHeap(mi, 1024, false)
	h.root, h.set = limited(2, fmt.Sprint(256*mi)), func(bytes int64) { limits <- bytes }
	defer h.watch(t.Context(), e)()
	full := <-limits
	if err := e.SetBudget(16 * mi); err != nil {
		t.Fatal(err)
	}
	h.kick()
	want := heapLimit(256*mi, 16*mi, mi, 1024)
	for deadline, last := time.After(20*time.Second), full; last != want; {
		select {
		case next := <-limits:
			if next < last {
				t.Errorf("it went from %d to %d", last, next)
			}
			last = next
		case <-deadline:
			t.Fatalf("it stays at %d, want %d", last, want)
		}
	}
	if _, mapped := e.Budget(); mapped > 16*mi {
		t.Errorf("the arena still has %d bytes", mapped)
	}
}
