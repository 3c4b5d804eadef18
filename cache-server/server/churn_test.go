// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/cache-server/engine"
)

// reset closes a connection so that the other end gets a reset.
func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

func TestResetsInTheMiddleOfEverything(t *testing.T) {
	f := start(t, func(cfg *Config) {
		cfg.MaxConnections = 256
		cfg.TransferBytes = 16 << 20
	})
	value := storeBig(t, f)
	for _, begun := range []string{
		"", "g", "get k", "get" + strings.Repeat(" k", 30_000), "set k 0 0 10\r\nabc", "set k 0 0 100000\r\nabc",
		"set k 0 0 500000\r\n" + value, "set k 0 0 2000000\r\n" + value, strings.Repeat("get big\r\n", 20),
		strings.Repeat("get big big big\r\n", 20) + "set k 0 0 500000\r\nabc", strings.Repeat("get k k k\r\n", 5000),
		"get" + strings.Repeat(" big", 2000) + "\r\n", strings.Repeat("set k 0 0 3\r\nabc\r\n", 3000), "\x80\x00\x00",
	} {
		var clients sync.WaitGroup
		for range 5 {
			conn := f.dial(t)
			clients.Go(func() {
				_ = conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
				_, _ = io.WriteString(conn, begun)
				reset(conn)
			})
		}
		clients.Wait()
	}
	eventually(t, "all are gone but one", func() bool { return f.numConns() == 1 })
	eventually(t, "the budget is free", func() bool { return f.transfer.used.Load() == 0 })
	send(t, f.dial(t), "get big\r\n", "VALUE big 0 200000\r\n"+value+"\r\nEND\r\n")
	for reason, n := range f.closes {
		if n.Load() > 0 && reason != reasonForeign {
			t.Errorf("%d were closed by the server, because of %s", n.Load(), reason)
		}
	}
}

func TestHalfClosedConnectionsAreAnsweredAndClosed(t *testing.T) {
	f := start(t, nil)
	value := storeBig(t, f)
	want := "VALUE big 0 200000\r\n" + value + "\r\nEND\r\n"
	if got := f.ask(t, strings.Repeat("get big\r\n", 10)+"get b"); got != strings.Repeat(want, 10) {
		t.Errorf("got %d bytes, want %d", len(got), 10*len(want))
	}
	eventually(t, "it is closed here as well", func() bool { return f.numConns() == 1 })
}

func TestAStormOfConnections(t *testing.T) {
	const clients, each = 20, 100
	f := start(t, func(cfg *Config) { cfg.MaxConnections = clients * 2 })
	var storm sync.WaitGroup
	for range clients {
		storm.Go(func() {
			for range each {
				conn, err := net.Dial("tcp", f.addr)
				if err != nil {
					t.Errorf("dial: %v", err)
					return
				}
				_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
				_, _ = io.WriteString(conn, "version\r\nquit\r\n")
				if got, err := io.ReadAll(conn); string(got) != "VERSION 1.6.45\r\n" &&
					string(got) != "ERROR Too many open connections\r\n" {
					t.Errorf("got %q, %v", got, err)
				}
				_ = conn.Close()
			}
		})
	}
	storm.Wait()
	eventually(t, "all are gone", func() bool { return f.numConns() == 0 })
	if n := f.accepted.Load() + f.refusals[reasonTooMany].Load(); n != clients*each {
		t.Errorf("%d connections were counted, want %d", n, clients*each)
	}
	if n := f.accepted.Load(); n < clients*each/2 {
		t.Errorf("only %d of %d were served", n, clients*each)
	}
}

func TestWithoutFileDescriptorsThoseConnectedGoOn(t *testing.T) {
	f := start(t, nil)
	connected := f.dial(t)
	send(t, connected, "version\r\n", "VERSION 1.6.45\r\n")
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	highest := openDescriptors(t)
	limit := unix.Rlimit{Cur: highest + 10, Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }()
	var taken []int
	for {
		fd, err := unix.Dup(0)
		if err != nil {
			break
		}
		taken = append(taken, fd)
	}
	free := func() {
		for _, fd := range taken {
			_ = unix.Close(fd)
		}
		taken = nil
	}
	defer free()
	_ = unix.Close(taken[len(taken)-1]) // the client's end takes this one
	taken = taken[:len(taken)-1]
	late := f.dial(t)
	eventually(t, "accepting fails", func() bool { return f.acceptErrs.Load() > 0 })
	send(t, connected, "version\r\n", "VERSION 1.6.45\r\n")
	free()
	send(t, late, "version\r\n", "VERSION 1.6.45\r\n")
}

// openDescriptors is a number above every open file descriptor.
func openDescriptors(t *testing.T) uint64 {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	highest := uint64(0)
	for _, entry := range entries {
		var fd uint64
		if _, err := fmt.Sscan(entry.Name(), &fd); err == nil {
			highest = max(highest, fd)
		}
	}
	return highest + 1
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	var second secondHand
	e, err := engine.New(engine.Config{MaxBytes: 8 << 20, MaxItemSize: engine.MinItemSize, Now: second.now})
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, func(cfg *Config) {
		cfg.Engine, cfg.MaxItemSize, cfg.IdleTimeout = e, engine.MinItemSize, 10*time.Second
	})
	idle, busy := f.dial(t), f.dial(t)
	send(t, idle, "version\r\n", "VERSION 1.6.45\r\n")
	send(t, busy, "version\r\n", "VERSION 1.6.45\r\n")
	second.add(10)
	send(t, busy, "version\r\n", "VERSION 1.6.45\r\n")
	second.add(1)
	expectClosed(t, idle)
	send(t, busy, "version\r\n", "VERSION 1.6.45\r\n")
	if n := f.closes[reasonIdle].Load(); n != 1 {
		t.Errorf("%d are counted as idle, want 1", n)
	}
	if got := f.ask(t, "stats\r\n"); !strings.Contains(got, "STAT idle_kicks 1\r\n") {
		t.Errorf("stats tell no kick: %s", got)
	}
}

// secondHand is a clock that stands still unless it is moved.
type secondHand struct {
	mu sync.Mutex
	at int64
}

func (h *secondHand) now() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return 1_800_000_000 + h.at
}

func (h *secondHand) add(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at += n
}

// serveMore serves one more listener on a fixture's server until the test ends.
func (f *fixture) serveMore(t *testing.T, l net.Listener) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- f.Serve(l) }()
	t.Cleanup(func() {
		f.stop(t)
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func TestUNIXSocketsAreServed(t *testing.T) {
	f := start(t, nil)
	path := filepath.Join(t.TempDir(), "socket")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f.serveMore(t, l)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	value := strings.Repeat("v", 500_000)
	send(t, conn, "set k 0 0 500000\r\n"+value+"\r\nget k\r\n", "STORED\r\nVALUE k 0 500000\r\n"+value+"\r\nEND\r\n")
	_, _ = io.WriteString(conn, "stats conns\r\n")
	if got := readUntil(t, conn, "END\r\n"); !strings.Contains(got, ":listen_addr unix:"+path) {
		t.Errorf("got %q", got)
	}
}

// blocking hides that a listener has descriptors, as one for TLS does.
type blocking struct{ net.Listener }

type hidden struct{ net.Conn }

func (b blocking) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return hidden{conn}, nil
}

func TestConnectionsWithoutDescriptorsAreServed(t *testing.T) {
	f := start(t, func(cfg *Config) {
		cfg.IdleTimeout = 300 * time.Millisecond
		cfg.Timeouts = Timeouts{Stall: 2 * time.Second}
	})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.serveMore(t, blocking{l})
	dial := func() net.Conn {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
		return conn
	}
	value := strings.Repeat("v", 500_000)
	conn, idle := dial(), dial()
	send(t, conn, "set k 0 0 500000\r\n"+value+"\r\nget k\r\n", "STORED\r\nVALUE k 0 500000\r\n"+value+"\r\nEND\r\n")
	send(t, conn, strings.Repeat("get k\r\n", 20), strings.Repeat("VALUE k 0 500000\r\n"+value+"\r\nEND\r\n", 20))
	expectClosed(t, idle)
	last := dial()
	_, _ = io.WriteString(last, "version\r\nset b 0 0 500000\r\n"+value[:1000])
	expect(t, last, "VERSION 1.6.45\r\n")
	eventually(t, "it has begun", func() bool { return f.transfer.used.Load() > 0 })
	drain(t, f, func() { send(t, last, value[1000:]+"\r\n", "STORED\r\n") })
}

func TestADrainFinishesAPipeline(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.Loops = 2 })
	var clients sync.WaitGroup
	const requests = 20_000
	begun := make(chan struct{}, 8)
	for range 8 {
		conn := f.dial(t)
		clients.Go(func() {
			go func() { _, _ = io.WriteString(conn, strings.Repeat("touch none 0\r\n", requests)) }()
			reply := make([]byte, 11)
			_, _ = io.ReadFull(conn, reply)
			begun <- struct{}{}
			got, err := io.ReadAll(conn)
			// Whatever was executed was answered in full, to the end of a line.
			if len(got)%11 != 0 || err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%d bytes of replies, %v", len(got), err)
			}
		})
	}
	for range 8 {
		<-begun
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := f.Drain(ctx); err != nil {
		t.Errorf("drain: %v", err)
	}
	clients.Wait()
}
