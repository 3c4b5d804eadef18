// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// TestTheWaveOf2026 sends what memcached 1.6.42 to 1.6.45 had to be mended for, as far as there is something of the
// kind here. Whoever sends it gets an answer or is closed; others are served.
func TestTheWaveOf2026(t *testing.T) {
	spaces := strings.Repeat(" ", 1500)
	for _, c := range []struct {
		name, request, want string
	}{
		{"lines with nothing on them", "\r\n\n\r\n\n", strings.Repeat("CLIENT_ERROR bad command line format\r\n", 4)},
		{"lines of spaces alone are not read past", spaces + "\r\n" + spaces + "\n   \n", "ERROR\r\nERROR\r\nERROR\r\n"},
		{"a verb behind spaces that fill the line", strings.Repeat(" ", 101) + "version\r\n", "VERSION 1.6.45\r\n"},
		{"a key that decodes to nothing", "mg ==== b v\r\nms ==== 2 b\r\nhi\r\nmd ==== b\r\nma ==== b\r\nme ==== b\r\n", ""},
		{"a key that decodes to more than a key may be", "mg " + strings.Repeat("a2Vr", 100) + " b v\r\n",
			"CLIENT_ERROR bad command line format\r\n"},
		{"an opaque that is too long", "mg none O" + strings.Repeat("o", 2000) + "\r\n", ""},
		{"more flags than there are", "mg none" + strings.Repeat(" v", 500) + "\r\n", ""},
		{"numbers of many digits", "ms k " + strings.Repeat("9", 300) + "\r\nincr k " + strings.Repeat("9", 300) +
			"\r\n", ""},
		{"a size with the sign bit", "set k 0 0 -2147483648\r\nset k 0 0 4294967295\r\n", ""},
		{"slabs automove and reassign with what is no number", "slabs automove\r\nslabs automove x y z\r\n" +
			"slabs reassign\r\nslabs reassign -1 99999999999\r\n", ""},
		{"lru with words missing", "lru\r\nlru tune\r\nlru tune 1\r\nlru mode\r\nlru temp_ttl\r\n", ""},
		{"lru_crawler with words missing", "lru_crawler\r\nlru_crawler crawl\r\nlru_crawler metadump\r\n" +
			"lru_crawler metadump 999999,-1,x\r\nlru_crawler tocrawl\r\nlru_crawler sleep -1\r\n", ""},
		{"a first token as long as a large value, where nobody asks for one",
			"set auth 0 0 900000\r\n" + strings.Repeat("u", 900_000) + "\r\n", "STORED\r\n"},
		{"one item in as many replies as a counter of references has not", request(set("k", "v")) +
			strings.Repeat(request(get("k").with(protocol.OpGetQ)), 70_000) + request(noop), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, nil)
			send(t, f.dial(t), "set kept 0 0 1\r\nv\r\n", "STORED\r\n")
			got := f.ask(t, c.request)
			if c.want != "" && got != c.want {
				t.Errorf("got %.200q, want %.200q", got, c.want)
			}
			if got == "" {
				t.Error("there is no answer")
			}
			send(t, f.dial(t), "get kept\r\n", "VALUE kept 0 1\r\nv\r\nEND\r\n")
		})
	}
}

// TestDumpsAndWatchersThatGoAway has clients ask for what is sent to them in the background, and leave.
func TestDumpsAndWatchersThatGoAway(t *testing.T) {
	for _, c := range []struct{ name, request string }{
		{"a dump that nobody reads", "lru_crawler metadump all\r\n"},
		{"a dump for meta commands", "lru_crawler mgdump all\r\n"},
		{"a watcher of everything", "watch fetchers mutations evictions connevents deletions\r\n"},
		{"a dump asked for by a watcher", "watch fetchers\r\nlru_crawler metadump all\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, func(cfg *Config) { cfg.Timeouts = Timeouts{Stall: 300 * time.Millisecond} })
			conn := f.dial(t)
			for i := range 5000 {
				_, _ = fmt.Fprintf(conn, "set key:%d 0 0 1 noreply\r\nx\r\n", i)
			}
			send(t, conn, "mn\r\n", "MN\r\n")
			for i := range 20 {
				gone := f.dial(t).(*net.TCPConn)
				_ = gone.SetReadBuffer(4096)
				_, _ = io.WriteString(gone, c.request)
				if i%2 == 0 { // some wait until it has begun
					_, _ = io.ReadFull(gone, make([]byte, 2))
				}
				_ = gone.SetLinger(0)
				_ = gone.Close()
				send(t, conn, "set key:1 0 0 1\r\ny\r\nget key:1\r\n", "STORED\r\nVALUE key:1 0 1\r\ny\r\nEND\r\n")
			}
			idle := f.dial(t) // asks, and neither reads nor leaves
			_, _ = io.WriteString(idle, c.request)
			send(t, conn, "get key:1\r\n", "VALUE key:1 0 1\r\ny\r\nEND\r\n")
			_ = idle.Close()
			eventually(t, "they are gone", func() bool { return f.numConns() == 1 })
		})
	}
}
