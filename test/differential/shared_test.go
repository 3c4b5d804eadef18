// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
)

const (
	sharedClients  = 8
	sharedRequests = 500 // of each client
)

// TestSameSumsWithSharedKeys has clients work on the same keys at once, in ways whose sums do not depend on who comes
// first, and compares those.
func TestSameSumsWithSharedKeys(t *testing.T) {
	addrs := [2]string{startMemcached(t), startOurs(t)}
	for _, c := range []struct {
		name string
		// before is sent by one client, request n of client i by all at once, after by one client again.
		before  string
		request func(i, n int) string
		after   string
		// sums are how often each reply must have come.
		sums map[string]int
		last string
	}{
		{"no count is lost", "set n 0 0 1\r\n0\r\nset m 0 0 7\r\n1000000\r\n",
			func(int, int) string { return "incr n 3 noreply\r\nma m MD D2 q\r\n" }, "get n m\r\n", map[string]int{},
			"VALUE n 0 5\r\n12000\r\nVALUE m 0 7\r\n992000 \r\nEND\r\n"},
		{"each key is added once", "flush_all\r\n",
			func(i, n int) string { return fmt.Sprintf("add k%d 0 0 1\r\n%d\r\n", n, i) }, "get none\r\n",
			map[string]int{"STORED": sharedRequests, "NOT_STORED": sharedRequests * (sharedClients - 1)}, "END\r\n"},
		{"each key is deleted once", storeAll("d"),
			func(_, n int) string { return fmt.Sprintf("delete d%d\r\n", n) }, "get none\r\n",
			map[string]int{"DELETED": sharedRequests, "NOT_FOUND": sharedRequests * (sharedClients - 1)}, "END\r\n"},
		{"each stale item is won once", storeAll("s") + invalidateAll("s"),
			func(_, n int) string { return fmt.Sprintf("mg s%d\r\n", n) }, "get none\r\n",
			map[string]int{"HD X W": sharedRequests, "HD Z X": sharedRequests * (sharedClients - 1)}, "END\r\n"},
		{"each miss is won once", "flush_all\r\n",
			func(_, n int) string { return fmt.Sprintf("mg v%d N100\r\n", n) }, "get none\r\n",
			map[string]int{"HD W": sharedRequests, "HD Z": sharedRequests * (sharedClients - 1)}, "END\r\n"},
		{"nothing that is appended is lost", "set a 0 0 0\r\n\r\n",
			func(int, int) string { return "append a 0 0 1 noreply\r\nx\r\nprepend a 0 0 1 noreply\r\nx\r\n" }, "get a\r\n",
			map[string]int{}, fmt.Sprintf("VALUE a 0 8000\r\n%s\r\nEND\r\n", strings.Repeat("x", 8000))},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := onBoth(func(side int) error {
				if _, err := exchange(addrs[side], [][]byte{[]byte(c.before)}, textFarewell); err != nil {
					return err
				}
				sums, err := atOnce(addrs[side], c.request)
				if err != nil {
					return err
				}
				if !maps.Equal(sums, c.sums) {
					return fmt.Errorf("the replies are %v, want %v", sums, c.sums)
				}
				last, err := talk(addrs[side], []string{c.after})
				if err == nil && string(last) != c.last {
					err = fmt.Errorf("at the end it says %s, want %s", shorten(string(last)), shorten(c.last))
				}
				return err
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

func storeAll(prefix string) string {
	var b strings.Builder
	for n := range sharedRequests {
		fmt.Fprintf(&b, "set %s%d 0 0 1 noreply\r\nx\r\n", prefix, n)
	}
	return b.String()
}

func invalidateAll(prefix string) string {
	var b strings.Builder
	for n := range sharedRequests {
		fmt.Fprintf(&b, "md %s%d I q\r\n", prefix, n)
	}
	return b.String()
}

// atOnce has the clients send their requests at the same time, and counts the replies.
func atOnce(addr string, request func(i, n int) string) (map[string]int, error) {
	sums := make(map[string]int)
	var mu sync.Mutex
	var failed error
	var running sync.WaitGroup
	for i := range sharedClients {
		running.Go(func() {
			var pieces [][]byte
			for n := range sharedRequests {
				pieces = append(pieces, []byte(request(i, n)))
			}
			got, err := exchange(addr, pieces, []byte("quit\r\n"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			}
			for _, r := range parseText(got) {
				sums[r.text]++
			}
		})
	}
	running.Wait()
	return sums, failed
}
