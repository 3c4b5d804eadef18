// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// heapInUse is how much Go's heap and stacks take once garbage is collected.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // pools keep what they have for one more
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// most calls f again and again until the function that it returns is called, which gives the most it has said.
func most(f func() int64) func() int64 {
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		highest := int64(0)
		for {
			highest = max(highest, f())
			select {
			case <-stop:
				peak <- highest
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-peak
	}
}

// storeBig stores a large value.
func storeBig(t *testing.T, f *fixture) string {
	t.Helper()
	value := strings.Repeat("v", 200_000)
	send(t, f.dial(t), "set big 0 0 200000\r\n"+value+"\r\n", "STORED\r\n")
	return value
}

func TestReadersThatDoNotReadAreBoundedAndCutOff(t *testing.T) {
	const clients = 50
	f := start(t, func(cfg *Config) {
		cfg.TransferBytes = 4 << 20
		cfg.Timeouts = Timeouts{Stall: 300 * time.Millisecond, Budget: 10 * time.Second}
	})
	value := storeBig(t, f)
	before := heapInUse()
	// In a fleet the runtime knows how much of the pod's limit is its own, and collects garbage accordingly.
	old := debug.SetMemoryLimit(before + f.transfer.limit + 12<<20)
	defer debug.SetMemoryLimit(old)
	peak := most(heapInUse)
	var conns []net.Conn
	for range clients {
		conn := f.dial(t)
		conns = append(conns, conn)
		go func() { _, _ = io.WriteString(conn, strings.Repeat("get big\r\n", 1000)) }()
	}
	eventually(t, "the readers are cut off", func() bool {
		return f.numConns() == 0 || f.closes[reasonSlowReader].Load() >= clients/2
	})
	// Those who read are served all the while.
	send(t, f.dial(t), "get big\r\n", "VALUE big 0 200000\r\n"+value+"\r\nEND\r\n")
	grown := peak() - before
	if got := f.transfer.peak.Load(); got > f.transfer.limit {
		t.Errorf("the budget of %d bytes was overdrawn: %d", f.transfer.limit, got)
	}
	// Beside the budget there are the goroutines of both ends, and values just read that found no room.
	if allowed := f.transfer.limit + 20<<20; grown > allowed {
		t.Errorf("the heap grew by %d bytes, allowed are %d", grown, allowed)
	}
	t.Logf("%d readers that do not read: heap grew by %d KiB at most, budget used %d of %d KiB",
		clients, grown>>10, f.transfer.peak.Load()>>10, f.transfer.limit>>10)
	for _, conn := range conns {
		_ = conn.Close()
	}
}

func TestPipelinesThatNeverReadAreNotBuffered(t *testing.T) {
	f := start(t, func(cfg *Config) {
		cfg.Timeouts = Timeouts{Stall: 300 * time.Millisecond}
	})
	send(t, f.dial(t), "set k 0 0 100\r\n"+strings.Repeat("v", 100)+"\r\n", "STORED\r\n")
	before := heapInUse()
	peak := most(heapInUse)
	conn := f.dial(t)
	sent := 0
	request := []byte(strings.Repeat("get k k k k k k k k k k\r\n", 1000))
	for { // until the server has enough of it
		n, err := conn.Write(request)
		sent += n
		if err != nil {
			break
		}
	}
	if reason := f.closes[reasonSlowReader].Load(); reason != 1 {
		t.Errorf("%d connections were cut off for not reading, want 1", reason)
	}
	if grown := peak() - before; grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes over %d bytes of requests", grown, sent)
	}
}

func TestAnnouncedSizesCostNothingUntilTheyCome(t *testing.T) {
	const clients = 40
	f := start(t, func(cfg *Config) { cfg.Timeouts = Timeouts{Stall: 200 * time.Millisecond} })
	for i := range clients {
		_, _ = fmt.Fprintf(f.dial(t), "set k%d 0 0 100000\r\nabc", i)
	}
	eventually(t, "all have begun", func() bool { return f.transfer.used.Load() >= clients*firstStep })
	if used := f.transfer.used.Load(); used > clients*(firstStep+awaySize) {
		t.Errorf("%d announced values hold %d bytes", clients, used)
	}
	eventually(t, "those who do not go on are closed", func() bool {
		return f.numConns() == 0 && f.closes[reasonSlowWriter].Load() == clients
	})
}

func TestValuesWithoutRoomAreRefusedAndThrownAway(t *testing.T) {
	f := start(t, func(cfg *Config) {
		cfg.TransferBytes = 256 << 10
		cfg.Timeouts = Timeouts{Budget: 20 * time.Millisecond}
	})
	value := strings.Repeat("v", 500_000)
	send(t, f.dial(t), "set k 0 0 1\r\nx\r\nset k 0 0 500000\r\n"+value+"\r\nget k\r\nversion\r\n",
		"STORED\r\nSERVER_ERROR out of memory storing object\r\nEND\r\nVERSION 1.6.45\r\n")
	send(t, f.dial(t), "add k 0 0 500000\r\n"+value+"\r\nversion\r\n",
		"SERVER_ERROR out of memory storing object\r\nVERSION 1.6.45\r\n")
}

func TestRepliesWithoutRoomAreRefused(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.Timeouts = Timeouts{Budget: 20 * time.Millisecond} })
	storeBig(t, f)
	eventually(t, "the budget is free", func() bool { return f.transfer.try(f.transfer.limit - 1000) })
	send(t, f.dial(t), "get big\r\nversion\r\n", "SERVER_ERROR out of memory writing get response\r\nVERSION 1.6.45\r\n")
	f.transfer.give(f.transfer.limit - 1000)
}

func TestPipelinesOfAnyLengthAreAnswered(t *testing.T) {
	const n = 50_000
	f := start(t, nil)
	conn := f.dial(t)
	value := strings.Repeat("v", 100)
	go func() {
		_, _ = io.WriteString(conn, "set k 0 0 100\r\n"+value+"\r\n"+strings.Repeat("get k\r\n", n)+"version\r\n")
	}()
	expect(t, conn, "STORED\r\n"+strings.Repeat("VALUE k 0 100\r\n"+value+"\r\nEND\r\n", n)+"VERSION 1.6.45\r\n")
}

func TestAGetWithoutEndIsCutOff(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t)
	go func() {
		_, _ = io.WriteString(conn, "get")
		for {
			if _, err := io.WriteString(conn, strings.Repeat(" key", 1000)); err != nil {
				return
			}
		}
	}()
	expect(t, conn, "SERVER_ERROR out of memory reading request\r\n")
	eventually(t, "it is counted", func() bool { return f.closes[reasonNoMemory].Load() == 1 })
}

func TestALongGetIsAnswered(t *testing.T) {
	f := start(t, nil)
	send(t, f.dial(t), "set k 0 0 1\r\nx\r\nget"+strings.Repeat(" k", 200_000)+" none\r\nversion\r\n",
		"STORED\r\n"+strings.Repeat("VALUE k 0 1\r\nx\r\n", 200_000)+"END\r\nVERSION 1.6.45\r\n")
}

func TestALongGetThatStopsIsClosed(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.Timeouts = Timeouts{Stall: 100 * time.Millisecond} })
	conn := f.dial(t)
	_, _ = io.WriteString(conn, "get"+strings.Repeat(" k", 20_000))
	expectClosed(t, conn)
	if n := f.closes[reasonSlowWriter].Load(); n != 1 {
		t.Errorf("%d are counted, want 1", n)
	}
}

func TestIdleConnectionsHoldNoBuffers(t *testing.T) {
	const clients = 1000
	f := start(t, func(cfg *Config) { cfg.MaxConnections = clients })
	before := heapInUse()
	conns := make([]net.Conn, clients)
	for i := range conns {
		conns[i] = f.dial(t)
		send(t, conns[i], "version\r\n", "VERSION 1.6.45\r\n")
	}
	// Both ends are in this process: the client's end is small beside the server's.
	each := (heapInUse() - before) / clients
	t.Logf("an idle connection takes %d bytes, the client's end included", each)
	if each > 10<<10 {
		t.Errorf("an idle connection takes %d bytes, want at most 10 KiB", each)
	}
	if used := f.transfer.used.Load(); used != 0 {
		t.Errorf("idle connections hold %d bytes of the budget", used)
	}
}
