// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestACrowdOfSlowClientsIsBounded has thousands of clients that send half a request or do not read what they
// ask for. They may hold the budget and no more, goroutines included, and others are served all the while.
func TestACrowdOfSlowClientsIsBounded(t *testing.T) {
	const readers, writers = 1000, 4000
	f := start(t, func(cfg *Config) {
		cfg.MaxConnections = readers + writers + 10
		cfg.TransferBytes = 16 << 20
		cfg.Timeouts = Timeouts{Stall: 2 * time.Second, Budget: 50 * time.Millisecond}
	})
	value := storeBig(t, f)
	conns := make([]net.Conn, 0, readers+writers)
	before, goroutines := heapInUse(), runtime.NumGoroutine()
	for i := range readers + writers {
		conn := f.dial(t)
		conns = append(conns, conn)
		switch i % 5 {
		case 0:
			_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
			_, _ = io.WriteString(conn, strings.Repeat("get big\r\n", 10))
		case 1:
			_, _ = io.WriteString(conn, "set k 0 0 100000\r\n"+value[:10_000])
		case 2:
			_, _ = io.WriteString(conn, "get "+strings.Repeat("k ", 5000))
		default:
			_, _ = io.WriteString(conn, "set k 0 0 5000\r\n"+value[:100])
		}
	}
	most := 0
	for range 20 {
		most = max(most, runtime.NumGoroutine()-goroutines)
		time.Sleep(20 * time.Millisecond)
	}
	send(t, f.dial(t), "version\r\n", "VERSION 1.6.45\r\n")
	grown := heapInUse() - before
	for range 5 { // what was read and found no room is garbage, of which there may be some at any moment
		grown = min(grown, heapInUse()-before)
	}
	if got := f.transfer.peak.Load(); got > f.transfer.limit {
		t.Errorf("the budget of %d bytes was overdrawn: %d", f.transfer.limit, got)
	}
	if allowed := int(f.transfer.limit/awaySize) + maxWaiters + 10; most > allowed {
		t.Errorf("there were %d goroutines, allowed are %d", most, allowed)
	}
	// Both ends are in this process, and the allocator rounds what is kept of requests.
	if allowed := f.transfer.limit*5/4 + (readers+writers)*5<<10; grown > allowed {
		t.Errorf("the heap grew by %d bytes, allowed are %d", grown, allowed)
	}
	t.Logf("%d slow clients: %d goroutines, heap grew by %d KiB, budget used %d of %d KiB at most",
		readers+writers, most, grown>>10, f.transfer.peak.Load()>>10, f.transfer.limit>>10)
	for _, conn := range conns {
		_ = conn.Close()
	}
	eventually(t, "the budget is free", func() bool { return f.transfer.used.Load() == 0 })
	send(t, f.dial(t), "get big\r\n", "VALUE big 0 200000\r\n"+value+"\r\nEND\r\n")
}

// TestManyLoopsUnderEveryLoad mixes all that may leave a loop with lone requests, on more loops than there are
// processors, and ends in a drain.
func TestManyLoopsUnderEveryLoad(t *testing.T) {
	f := start(t, func(cfg *Config) {
		cfg.Loops, cfg.MaxConnections, cfg.TransferBytes = 3, 200, 64<<20
	})
	value := storeBig(t, f)
	big := "VALUE big 0 200000\r\n" + value + "\r\nEND\r\n"
	loads := []struct{ request, reply string }{
		{"version\r\n", "VERSION 1.6.45\r\n"},
		{"get big\r\n", big},
		{"get big big\r\n", strings.TrimSuffix(big, "END\r\n") + big},
		{"set mine 0 0 200000\r\n" + value + "\r\n", "STORED\r\n"},
		{strings.Repeat("touch none 0\r\n", 2000), strings.Repeat("NOT_FOUND\r\n", 2000)},
		{"get" + strings.Repeat(" none", 5000) + "\r\n", "END\r\n"},
	}
	done := make(chan error, 60)
	for i := range cap(done) {
		conn := f.dial(t)
		_ = conn.SetDeadline(time.Now().Add(2 * time.Minute)) // the race detector takes its time
		go func() {
			for turn := range 30 {
				load := loads[(i+turn)%len(loads)]
				written := make(chan error, 1)
				go func() {
					_, err := io.WriteString(conn, load.request)
					written <- err
				}()
				got := make([]byte, len(load.reply))
				if n, err := io.ReadFull(conn, got); err != nil || string(got) != load.reply {
					t.Errorf("%.20q: %d bytes, not what was asked for: %v", load.request, n, err)
					done <- err
					return
				}
				if err := <-written; err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Errorf("a client ended with %v", err)
		}
	}
	eventually(t, "the budget is free", func() bool { return f.transfer.used.Load() == 0 })
	drain(t, f, nil)
	t.Logf("%d yields", f.yields())
}
