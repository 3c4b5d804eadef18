// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/memkeep/memkeep/cache-server/engine"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// fixture is a server that serves on loopback.
type fixture struct {
	*Server
	engine *engine.Engine
	addr   string
	log    *logBuffer
	served chan error
}

// start runs a server; change adapts its configuration.
func start(t testing.TB, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{log: new(logBuffer), served: make(chan error, 1)}
	cfg := Config{
		MaxItemSize: 1 << 20, MaxConnections: 64, AdminCommands: AllAdminCommands, Version: "1.6.45",
		Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	if cfg.Engine == nil {
		e, err := engine.New(engine.Config{
			MaxBytes: 64 << 20, MaxItemSize: cfg.MaxItemSize, SizeClasses: SizeClasses(Settings{}),
		})
		if err != nil {
			t.Fatalf("make the engine: %v", err)
		}
		cfg.Engine = e
	}
	f.engine = cfg.Engine
	srv, err := New(cfg)
	if err != nil {
		t.Fatalf("make the server: %v", err)
	}
	f.Server = srv
	l, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	f.addr = l.Addr().String()
	go func() { f.served <- srv.Serve(l) }()
	t.Cleanup(func() { f.stop(t) })
	return f
}

func (f *fixture) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = f.Drain(ctx)
	if err := <-f.served; err != nil {
		t.Errorf("serve: %v", err)
	}
	f.served <- nil
	if used := f.transfer.used.Load(); used != 0 {
		t.Errorf("%d bytes of the budget were never given back", used)
	}
	if err := f.engine.Close(); err != nil {
		t.Errorf("close the engine: %v", err)
	}
}

func (f *fixture) dial(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	return conn
}

// ask sends a request over a connection of its own and returns all that comes back until the server closes.
func (f *fixture) ask(t testing.TB, request string) string {
	t.Helper()
	conn := f.dial(t)
	go func() {
		_, _ = io.WriteString(conn, request)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("read: %v", err)
	}
	return string(got)
}

// send writes a request and reads exactly the wanted reply.
func send(t testing.TB, conn net.Conn, request, want string) {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatalf("write %.40q: %v", request, err)
	}
	expect(t, conn, want)
}

func expect(t testing.TB, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil {
		t.Fatalf("got %.80q, want %.80q: %v", got[:n], want, err)
	}
	if string(got) != want {
		t.Fatalf("got %.200q, want %.200q", got, want)
	}
}

// expectClosed waits until the server closes a connection without a word.
func expectClosed(t testing.TB, conn net.Conn) {
	t.Helper()
	got, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("the connection is still open: %v", err)
	}
	if len(got) > 0 {
		t.Fatalf("got %.80q before the close, want nothing", got)
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for range 500 {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s: not within 5 s", what)
}

// logBuffer collects what a server logs.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
