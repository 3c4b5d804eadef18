// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// buildOurs builds our binary.
func buildOurs(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "cache-server")
	build := exec.Command("go", "build", "-o", binary, "../../cache-server")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the cache server: %v\n%s", err, out)
	}
	return binary
}

// findMemcached returns Debian's memcached.
func findMemcached(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("../../hack/debs.sh", "memcached").Output()
	if err != nil {
		t.Fatalf("unpack memcached: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "wrapped", "memcached")
}

// startServer runs a server until the test ends. It returns the address once the server accepts.
func startServer(t *testing.T, addr, binary string, args ...string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
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
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%s on %s has said:\n%s", filepath.Base(binary), addr, stderr.String())
		}
	})
	deadline := time.Now().Add(20 * time.Second)
	for {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return addr
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s has ended: %v\n%s", binary, err, stderr.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not accept on %s\n%s", binary, addr, stderr.String())
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer func() { _ = l.Close() }()
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
