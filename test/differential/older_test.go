// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"strings"
	"testing"
	"time"
)

// TestTheOlderWordsStand asserts what docs/compatibility.md says under that title: what 1.6.45 answers otherwise is
// answered as 1.6.18 does.
func TestTheOlderWordsStand(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	const usage = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]"
	long := strings.Repeat("k", 251)
	rows := map[string]string{
		"get": olderRefusal, "gets": olderRefusal, "gat": olderRefusal, "gat 0": "END", "set": olderRefusal,
		"set k": olderRefusal, "set k 0 0": olderRefusal, "incr k": olderRefusal, "touch k": olderRefusal,
		"delete": olderRefusal, "verbosity": olderRefusal,
		"delete k 1": usage, "delete k x": usage, "incr k 1 noreply x": olderRefusal, "verbosity 1 2 3": olderRefusal,
		"set k 0 0 1 noreply x": olderRefusal,
		"bget k":                "END", "  get k": "END", "get " + long: newerRefusal,
	}
	for line, want := range rows {
		for side, addr := range p.addrs {
			// 1.6.45 takes the farewell for the value of what we refuse, and waits: that long, and not longer.
			got, err := converse(addr, [][]byte{[]byte(line + "\r\nquit\r\n")}, 0, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != want+"\r\n" && (side == 1 || !p.newer) {
				t.Errorf("%q: %s says %q, want %s", line, names[side], got, want)
			}
		}
	}
}
