// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// storeMany stores items of one size, key0000 and so on.
func storeMany(t *testing.T, f *fixture, n int) {
	t.Helper()
	var requests strings.Builder
	for i := range n {
		fmt.Fprintf(&requests, "set key%05d %d 0 10 noreply\r\n0123456789\r\n", i, i%2)
	}
	f.ask(t, requests.String())
}

func TestDumps(t *testing.T) {
	const two = "set a%b 7 0 3\r\nabc\r\nset later 0 1000 1\r\nx\r\nget later\r\nms AAE= 1 b\r\ny\r\n"
	for _, c := range []struct{ name, request, want string }{
		{"metadump tells what is known of an item, on one line, with its key escaped", "lru_crawler metadump all\r\n",
			"OK\r\n" +
				`key=%00%01 exp=-1 la=N cas=N fetch=no cls=1 size=N flags=0 ` + "\n" +
				`key=a%25b exp=-1 la=N cas=N fetch=no cls=1 size=N flags=7 ` + "\n" +
				`key=later exp=N la=N cas=N fetch=yes cls=1 size=N flags=0 ` + "\nEND\r\n"},
		{"mgdump tells commands that read the items", "lru_crawler mgdump all\r\n",
			"OK\r\nmg AAE= b\r\nmg a%b\r\nmg later\r\nEN\r\n"},
		{"hash is another word for all", "lru_crawler mgdump hash\r\n",
			"OK\r\nmg AAE= b\r\nmg a%b\r\nmg later\r\nEN\r\n"},
		{"classes are chosen by number", "lru_crawler mgdump 2,3\r\n", "OK\r\nEN\r\n"},
		{"cachedump leaves binary keys out", "stats cachedump 1 0\r\n",
			"ITEM a%b [3 b; 0 s]\r\nITEM later [1 b; N s]\r\nEND\r\n"},
		{"cachedump stops at its limit", "stats cachedump 1 1\r\n", "ITEM N [N b; N s]\r\nEND\r\n"},
		{"cachedump of an empty class", "stats cachedump 2 0\r\n", "END\r\n"},
		{"cachedump of a class that is none", "stats cachedump 64 0\r\n", "CLIENT_ERROR Illegal slab id\r\n"},
		{"a class that is none", "lru_crawler metadump 0\r\n", "BADCLASS invalid class id\r\n"},
		{"a dump behind other commands of a batch", "version\r\nlru_crawler mgdump all\r\n",
			"VERSION 1.6.45\r\nERROR cannot pipeline other commands before mgdump\r\n"},
		{"the connection goes on after a dump", "lru_crawler mgdump 2\r\nversion\r\n",
			"OK\r\nEN\r\nVERSION 1.6.45\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, nil)
			f.ask(t, two)
			got := f.ask(t, c.request)
			if strings.Contains(c.want, "ITEM N") {
				if !regexp.MustCompile(`^ITEM \S+ \[\d b; \d+ s\]\r\nEND\r\n$`).MatchString(got) {
					t.Errorf("got %q, want one item", got)
				}
				return
			}
			// Dumps are in no order.
			lines := strings.SplitAfter(got, "\n")
			slices.Sort(lines)
			want := strings.SplitAfter(c.want, "\n")
			slices.Sort(want)
			pattern := "^" + regexp.MustCompile(`\bN\b`).ReplaceAllString(
				regexp.QuoteMeta(strings.Join(want, "")), "[1-9][0-9]*") + "$"
			if !regexp.MustCompile(pattern).MatchString(strings.Join(lines, "")) {
				t.Errorf("got %q, want %q", lines, want)
			}
		})
	}
}

func TestDumpsAreRefusedWithX(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.NoDump = true })
	for request, want := range map[string]string{
		"lru_crawler metadump all\r\n": "ERROR metadump not allowed\r\n",
		"lru_crawler mgdump all\r\n":   "ERROR key dump not allowed\r\n",
	} {
		if got := f.ask(t, request); got != want {
			t.Errorf("%q: got %q, want %q", request, got, want)
		}
	}
}

func TestADumpTellsOnceOfEveryItemThatStaysWhileOthersChange(t *testing.T) {
	const items = 20_000
	f := start(t, nil)
	storeMany(t, f, items)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn := f.dial(t)
		for i := 0; !stop.Load(); i++ {
			send(t, conn, fmt.Sprintf("set new%d 0 0 1\r\nx\r\ndelete new%d\r\nset key%05d 0 0 3\r\nnew\r\n", i, i-50, i%items),
				"STORED\r\n"+map[bool]string{true: "DELETED\r\n", false: "NOT_FOUND\r\n"}[i >= 50]+"STORED\r\n")
		}
	}()
	for range 3 {
		seen := make(map[string]int)
		got := f.ask(t, "lru_crawler mgdump all\r\n")
		if !strings.HasPrefix(got, "OK\r\n") || !strings.HasSuffix(got, "\r\nEN\r\n") {
			t.Fatalf("got %.40q", got)
		}
		for line := range strings.Lines(strings.TrimSuffix(strings.TrimPrefix(got, "OK\r\n"), "EN\r\n")) {
			key, ok := strings.CutPrefix(strings.TrimSuffix(line, "\r\n"), "mg ")
			if !ok {
				t.Fatalf("%q is no line of a dump", line)
			}
			seen[key]++
		}
		for i := range items {
			if key := fmt.Sprintf("key%05d", i); seen[key] != 1 {
				t.Fatalf("%s is told %d times, want once", key, seen[key])
			}
		}
	}
	stop.Store(true)
	<-done
}

func TestADumpToAClientThatDoesNotRead(t *testing.T) {
	f := start(t, func(cfg *Config) {
		cfg.Timeouts.Stall = 500 * time.Millisecond
		cfg.Loops = 1
	})
	storeMany(t, f, 40_000)
	slow := f.dial(t)
	if err := slow.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(slow, "lru_crawler metadump all\r\n")
	other := f.dial(t)
	eventually(t, "the dump has begun", f.crawler.dumping.Load)
	send(t, other, "lru_crawler metadump all\r\n", "BUSY currently processing crawler request\r\n")
	send(t, other, "get key00001\r\n", "VALUE key00001 1 10\r\n0123456789\r\nEND\r\n")
	if held := f.transfer.peak.Load(); held > largeShare+awaySize+2*workspaceSize {
		t.Errorf("the dump held %d bytes", held)
	}
	eventually(t, "the client is cut off", func() bool { return f.closes[reasonSlowReader].Load() == 1 })
	eventually(t, "others may dump", func() bool { return !f.crawler.dumping.Load() })
	got := f.ask(t, "lru_crawler metadump all\r\n")
	if n := strings.Count(got, "\n"); n != 40_002 {
		t.Errorf("the next dump has %d lines, want %d", n, 40_002)
	}
}

func TestADumpToAClientThatGoesAwayEnds(t *testing.T) {
	f := start(t, nil)
	storeMany(t, f, 40_000)
	conn := f.dial(t)
	_, _ = io.WriteString(conn, "lru_crawler metadump all\r\n")
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	eventually(t, "the dump has ended", func() bool { return !f.crawler.dumping.Load() && f.numConns() == 0 })
}
