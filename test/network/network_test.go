// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package network holds the cache server's network side against memcached's: as processes, on loopback.
package network

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/memkeep/memkeep/test/bench/peer"
)

// ours is the path of the cache server.
var ours string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "memkeep-network-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ours = filepath.Join(dir, "cache-server")
	build := exec.Command("go", "build", "-o", ours, "../../cache-server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the cache server: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// server is a running server.
type server struct {
	name, addr string
	pid        int
}

// begin runs a program on loopback until the test ends.
func begin(t *testing.T, name, path string, args ...string) server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.CommandContext(t.Context(), path, append([]string{"-l", "127.0.0.1", "-p", port}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 500 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return server{name, addr, cmd.Process.Pid}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s does not listen: %s", name, stderr.String())
	return server{}
}

// both runs this project's server and memcached alike.
func both(t *testing.T, args ...string) []server {
	t.Helper()
	path, err := peer.Memcached()
	if err != nil {
		t.Fatal(err)
	}
	theirs := args
	if os.Getuid() == 0 {
		theirs = append([]string{"-u", "nobody"}, args...)
	}
	return []server{begin(t, "memcached", path, theirs...), begin(t, "memkeep", ours, args...)}
}

// connect opens connections, each of which has been answered.
func (s server) connect(t *testing.T, n int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	reply := make([]byte, 64)
	for i := range conns {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatalf("connection %d to %s: %v", i, s.name, err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, "version\r\n")
		if _, err := conn.Read(reply); err != nil {
			t.Fatalf("connection %d to %s: %v", i, s.name, err)
		}
		conns[i] = conn
	}
	return conns
}

// resident is the resident memory of a server, in bytes.
func (s server) resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kib, _ := strconv.Atoi(fields[1])
			return kib << 10
		}
	}
	t.Fatalf("no VmRSS for %s", s.name)
	return 0
}

func TestAnIdleConnectionTakesNoMoreMemoryThanWithMemcached(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	clients := min(10_000, int(limit.Cur)-500)
	if clients < 1000 {
		t.Skipf("only %d file descriptors are allowed", limit.Cur)
	}
	each := map[string]int{}
	for _, s := range both(t, "-c", "12000", "-t", "2", "-m", "64") {
		s.connect(t, 100)
		before := s.resident(t)
		conns := s.connect(t, clients)
		each[s.name] = (s.resident(t) - before) / clients
		for _, conn := range conns {
			_ = conn.Close() // the next server's need the descriptors
		}
	}
	t.Logf("RSS for each of %d idle connections: memcached %d bytes, memkeep %d", clients, each["memcached"],
		each["memkeep"])
	if most := each["memcached"] * 11 / 10; each["memkeep"] > most {
		t.Errorf("an idle connection takes %d bytes, want at most %d", each["memkeep"], most)
	}
}

// stracePath is where strace is, unpacked beside or installed.
func stracePath() (string, error) {
	dir, err := os.UserCacheDir()
	if cache := os.Getenv("MEMKEEP_CACHE"); cache != "" {
		dir = cache
	} else if err == nil {
		dir = filepath.Join(dir, "memkeep")
	}
	path := filepath.Join(dir, "bin", "strace")
	if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
		return path, nil
	}
	return exec.LookPath("strace")
}

func TestALoneRequestTakesTwoSystemCallsAndAShareOfOthers(t *testing.T) {
	strace, err := stracePath()
	if err != nil {
		t.Skip("strace is not there to count with: run hack/debs.sh strace")
	}
	const clients, rounds = 50, 40
	for _, s := range both(t, "-t", "1", "-m", "64") {
		conns := s.connect(t, clients)
		summary := filepath.Join(t.TempDir(), s.name)
		tracer := exec.CommandContext(t.Context(), strace, "-f", "-c", "-U", "calls,name", "-o", summary,
			"-p", strconv.Itoa(s.pid))
		if err := tracer.Start(); err != nil {
			t.Fatal(err)
		}
		if !traced(s.pid) {
			_ = tracer.Process.Kill()
			_ = tracer.Wait()
			t.Skip("strace is not allowed to trace here")
		}
		for range rounds {
			ask(t, s, conns)
		}
		_ = tracer.Process.Signal(os.Interrupt)
		_ = tracer.Wait()
		text, err := os.ReadFile(summary)
		if err != nil {
			t.Fatal(err)
		}
		calls := float64(total(t, string(text))) / (clients * rounds)
		t.Logf("%s: %.2f system calls for a lone request\n%s", s.name, calls, text)
		if s.name == "memkeep" && calls > 2.5 {
			t.Errorf("a lone request takes %.2f system calls, want at most 2.5", calls)
		}
	}
}

// traced waits until somebody traces a process.
func traced(pid int) bool {
	for range 100 {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err == nil && strings.Contains(string(text), "TracerPid:") &&
			!strings.Contains(string(text), "TracerPid:\t0\n") {
			time.Sleep(200 * time.Millisecond) // every thread, not just the first
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// ask sends one request on every connection while the server stands still, so that it finds all of them at
// once, as a busy server does.
func ask(t *testing.T, s server, conns []net.Conn) {
	t.Helper()
	_ = syscall.Kill(s.pid, syscall.SIGSTOP)
	for _, conn := range conns {
		_, _ = io.WriteString(conn, "get none\r\n")
	}
	_ = syscall.Kill(s.pid, syscall.SIGCONT)
	reply := make([]byte, 5)
	for _, conn := range conns {
		if _, err := io.ReadFull(conn, reply); err != nil || string(reply) != "END\r\n" {
			t.Fatalf("%s: got %q, %v", s.name, reply, err)
		}
	}
}

// total reads the last line of strace's summary.
func total(t *testing.T, summary string) int {
	t.Helper()
	for line := range strings.Lines(summary) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[len(fields)-1] == "total" {
			n, err := strconv.Atoi(fields[0])
			if err == nil {
				return n
			}
		}
	}
	t.Fatalf("no total in %s", summary)
	return 0
}
