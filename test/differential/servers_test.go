// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/server"
)

// memcachedBinary finds the reference. There is no test without it.
func memcachedBinary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("MEMKEEP_MEMCACHED"); path != "" {
		return path
	}
	cache := os.Getenv("MEMKEEP_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err == nil {
			cache = filepath.Join(dir, "memkeep")
		}
	}
	if path := filepath.Join(cache, "bin", "memcached"); isExecutable(path) {
		return path
	}
	path, err := exec.LookPath("memcached")
	if err != nil {
		t.Fatal("memcached is not there to compare with: run `make test-deps`, or set MEMKEEP_MEMCACHED")
	}
	return path
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// startMemcached runs the reference on a free port of loopback and returns its address.
func startMemcached(t testing.TB, args ...string) string {
	t.Helper()
	return startProgram(t, memcachedBinary(t), args...)
}

// startReference runs the reference without its background threads. They hold items for a moment, which shows: a number
// is padded or not, an item is a new one or the old one.
func startReference(t testing.TB) string {
	t.Helper()
	return startMemcached(t, quiet...)
}

var quiet = []string{"-o", "no_lru_maintainer,no_lru_crawler"}

// startProgram runs a memcached.
func startProgram(t testing.TB, binary string, args ...string) string {
	t.Helper()
	addr := freeAddress(t)
	_, port, _ := net.SplitHostPort(addr)
	args = append([]string{"-l", "127.0.0.1", "-p", port, "-m", "256"}, args...)
	if os.Getuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	var stderr syncBuffer
	cmd := exec.Command(binary, args...)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", binary, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer on %s: %v\n%s", binary, addr, err, stderr.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// startOurs runs the cache server in this process and returns its address. MEMKEEP_DIFF_AGAINST may name another
// memcached to run in its place: what differs then is a fault of these tests, or of two versions.
func startOurs(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("MEMKEEP_DIFF_AGAINST"); path != "" {
		return startProgram(t, path, quiet...)
	}
	const maxItemSize = 1 << 20
	e, err := engine.New(engine.Config{
		MaxBytes: 256 << 20, MaxItemSize: maxItemSize, SizeClasses: server.SizeClasses(server.Settings{}),
	})
	if err != nil {
		t.Fatalf("make the engine: %v", err)
	}
	srv, err := server.New(server.Config{
		Engine: e, MaxItemSize: maxItemSize, MaxConnections: 1024, AdminCommands: server.AllAdminCommands,
		Version: "1.6.45", Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Settings: server.Settings{Port: 11211, Interface: "127.0.0.1", Threads: 4},
	})
	if err != nil {
		t.Fatalf("make the server: %v", err)
	}
	l, err := server.Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Drain(ctx); err != nil {
			t.Errorf("drain: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := e.Close(); err != nil {
			t.Errorf("close the engine: %v", err)
		}
	})
	return l.Addr().String()
}

// syncBuffer is a buffer that a process may write while a test reads it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// envInt reads a number from the environment.
func envInt(t testing.TB, name string, fallback int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s is %q: it must be a number", name, text)
	}
	return n
}
