// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// statsOf reads statistics by name.
func statsOf(t *testing.T, f *fixture, request string) map[string]string {
	t.Helper()
	got := f.ask(t, request)
	body, ok := strings.CutSuffix(got, "END\r\n")
	if !ok {
		t.Fatalf("got %q", got)
	}
	stats := make(map[string]string)
	for line := range strings.Lines(body) {
		name, value, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, "STAT "), "\r\n"), " ")
		if !ok || stats[name] != "" {
			t.Fatalf("%q is no line of statistics, or the second of its name", line)
		}
		stats[name] = value
	}
	return stats
}

func TestStatsEngineTellsWhereTheMemoryIs(t *testing.T) {
	f := start(t, func(cfg *Config) {
		cfg.MemoryLimit = func() int64 { return 1 << 30 }
		cfg.Loops, cfg.TransferBytes = 3, 5<<20
	})
	f.ask(t, "set k 0 0 100000\r\n"+strings.Repeat("v", 100_000)+"\r\nset t 0 0 2000000\r\n"+
		strings.Repeat("v", 2_000_000)+"\r\n")
	stats := statsOf(t, f, "stats engine\r\n")
	for name, want := range map[string]string{
		"arena_limit": "67108864", "kernel_limit": "1073741824", "loops": "3", "transfer_limit": "5242880",
		"evicted_for_memory": "0", "evicted_for_index": "0", "lost_items": "0", "unverified_units": "0",
		"arena_held": "0", "transfer_waiting": "0",
	} {
		if stats[name] != want {
			t.Errorf("%s is %q, want %q", name, stats[name], want)
		}
	}
	for name, least := range map[string]int{
		"arena_mapped": 100_000, "index_size": 1, "index_slots": 1, "heap_objects": 1, "heap_limit": 1, "goroutines": 3,
		"transfer_peak": 100_000, "transfer_held": 0, "arena_dead": 0, "reclaimed_expired": 0, "refused_out_of_memory": 0,
		"refused_too_large": 0, "lost_units": 0,
	} {
		if n, err := strconv.Atoi(stats[name]); err != nil || n < least {
			t.Errorf("%s is %q, want at least %d", name, stats[name], least)
		}
	}
	if load, err := strconv.ParseFloat(stats["index_load"], 64); err != nil || load < 0 || load > 1 {
		t.Errorf("index_load is %q", stats["index_load"])
	}
	conn := f.dial(t)
	if first := exchange(t, conn, packet{op: protocol.OpStat, key: "engine"}); first.key != "arena_limit" {
		t.Errorf("in binary it begins with %v", first)
	}
}

func TestStatsConnsTellsWhatConnectionsDo(t *testing.T) {
	f := start(t, nil)
	storeBig(t, f)
	idle := f.dial(t)
	send(t, idle, "version\r\n", "VERSION 1.6.45\r\n")
	watching, _ := watchOn(t, f, "")
	sending := f.dial(t)
	_, _ = io.WriteString(sending, "set half 0 0 200000\r\nhalf")
	deaf := f.dial(t)
	if err := deaf.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(deaf, strings.Repeat("get big\r\n", 20))
	stateOf := func(address string) string {
		stats := statsOf(t, f, "stats conns\r\n")
		for name, value := range stats {
			if id, ok := strings.CutSuffix(name, ":addr"); ok && value == address {
				return stats[id+":state"]
			}
		}
		return "none"
	}
	for _, c := range []struct{ name, address, want string }{
		{"the listener", "tcp:" + f.addr, "conn_listening"},
		{"one that is idle", "tcp:" + idle.LocalAddr().String(), "conn_read"},
		{"one that watches", "tcp:" + watching.LocalAddr().String(), "conn_watch"},
		{"one whose value has not come", "tcp:" + sending.LocalAddr().String(), "conn_nread"},
		{"one that does not read", "tcp:" + deaf.LocalAddr().String(), "conn_mwrite"},
	} {
		eventually(t, fmt.Sprintf("%s is in %s", c.name, c.want), func() bool { return stateOf(c.address) == c.want })
	}
	conn := f.dial(t)
	_, _ = io.WriteString(conn, "stats conns\r\n")
	if got := readUntil(t, conn, "END\r\n"); strings.Count(got, ":state conn_parse_cmd\r\n") != 1 {
		t.Errorf("who asks is not in conn_parse_cmd alone: %q", got)
	}
}

func TestNoReplyTellsACASWhereItIsOff(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.DisableCAS = true })
	value := strings.Repeat("v", 100_000)
	large := "VALUE big 0 100000 0\r\n" + value + "\r\nEND\r\n"
	for _, c := range []struct{ request, want string }{
		{"set k 0 0 1\r\nx\r\ngets k\r\n", "STORED\r\nVALUE k 0 1 0\r\nx\r\nEND\r\n"},
		{"set big 0 0 100000\r\n" + value + "\r\ngets big\r\ngets big\r\n", "STORED\r\n" + large + large},
		{"mg k c v\r\n", "VA 1 c0\r\nx\r\n"},
		{"ms n 1 c\r\n1\r\nma n c\r\n", "HD c0\r\nHD c0\r\n"},
		{"cas k 0 0 1 7\r\ny\r\n", "EXISTS\r\n"},
		{"lru_crawler mgdump 2\r\n", "OK\r\nEN\r\n"},
	} {
		if got := f.ask(t, c.request); got != c.want {
			t.Errorf("%.40q: got %.80q, want %.80q", c.request, got, c.want)
		}
	}
	for _, request := range []string{"me k\r\n", "lru_crawler metadump 1\r\n"} {
		if got := f.ask(t, request); !strings.Contains(got, " cas=0 ") {
			t.Errorf("%q: got %q", request, got)
		}
	}
	conn := f.dial(t)
	for range 2 { // the second one is held
		if got := exchange(t, conn, get("big")); got.cas != 0 || got.value != value {
			t.Errorf("in binary a CAS of %d and %d bytes", got.cas, len(got.value))
		}
	}
}

func TestSlabsTakeTheirPagesUpToTheLimit(t *testing.T) {
	f := start(t, nil)
	malloced := func(mebibytes int) {
		t.Helper()
		if got := statsOf(t, f, "stats slabs\r\n")["total_malloced"]; got != strconv.Itoa(mebibytes<<20) {
			t.Errorf("total_malloced is %q, want %d MiB", got, mebibytes)
		}
	}
	malloced(0)
	f.ask(t, "set a 0 0 1\r\nx\r\n")
	malloced(1)
	f.ask(t, "set b 0 0 1000\r\n"+strings.Repeat("v", 1000)+"\r\n")
	malloced(2)
	// More small items fit here into 8 MiB than into 8 pages.
	var requests strings.Builder
	requests.WriteString("cache_memlimit 8\r\n")
	for i := range 200_000 {
		fmt.Fprintf(&requests, "set %d 0 0 1 noreply\r\nx\r\n", i)
	}
	f.ask(t, requests.String())
	malloced(8)
}
