// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"
	"time"
)

func TestParseCPU(t *testing.T) {
	f := func(name, stat string, want time.Duration, fails bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			got, err := parseCPU(stat)
			if got != want || (err != nil) != fails {
				t.Fatalf("got %s, %v", got, err)
			}
		})
	}
	f("user and system time are added",
		"12 (manager) S 1 12 12 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 9 0 1 1 1", 2*time.Second, false)
	f("a name may hold blanks and parentheses",
		"12 (a) b (c) S 1 12 12 0 -1 4194560 9 0 0 0 1 2 0 0 20 0 9 0 1 1 1", 30*time.Millisecond, false)
	f("a line that is cut off is an error", "12 (manager) S 1 12", 0, true)
	f("a word for a number is an error", "12 (m) S 1 12 12 0 -1 4194560 9 0 0 0 x 50 0 0 20 0", 0, true)
	f("nothing is an error", "", 0, true)
}

func TestThisProcessUsesTime(t *testing.T) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); time.Since(begun) < 5*time.Second; {
		if got, err := parseCPU(string(stat)); err != nil {
			t.Fatal(err)
		} else if got > 0 {
			return
		}
		if stat, err = os.ReadFile("/proc/self/stat"); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("five seconds of work are no time")
}

func TestBetweenSubtracts(t *testing.T) {
	at := time.Now()
	got := between(sample{at: at, cpu: time.Second, requests: map[string]float64{"GET": 2}},
		sample{at: at.Add(time.Minute), cpu: 3 * time.Second, requests: map[string]float64{"GET": 5, "PATCH": 1}})
	if got.took != time.Minute || got.cpu != 2*time.Second || total(got.requests) != 4 {
		t.Fatalf("got %+v", got)
	}
	if s := byMethod(got.requests, 2); s != "6 GET, 2 PATCH" {
		t.Fatalf("got %q", s)
	}
}
