// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package network holds the cache server's network side against memcached's: as processes, on loopback.
package network

import (
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

	"github.com/memkeep/memkeep/test/lane"
	"github.com/memkeep/memkeep/test/process"
)

// ours is the path of the cache server.
var ours string

func TestMain(m *testing.M) {
	os.Exit(process.Main(m, &ours))
}

// server is a running server.
type server struct {
	*process.Server
	name string
}

// both runs this project's server and memcached alike until the test ends.
func both(t *testing.T, flags ...string) []server {
	t.Helper()
	return []server{
		{process.MustServe(t, process.MustMemcached(t), process.MustFreeAddress(t), flags...), "memcached"},
		{process.MustServe(t, ours, process.MustFreeAddress(t), flags...), "memkeep"},
	}
}

// connect opens connections, each of which has been answered.
func (s server) connect(t *testing.T, n int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	reply := make([]byte, 64)
	for i := range conns {
		conn, err := net.Dial("tcp", s.Addr)
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
	rss, err := s.RSS()
	if err != nil {
		t.Fatal(err)
	}
	return int(rss)
}

func TestAnIdleConnectionTakesNoMoreMemoryThanWithMemcached(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	clients := min(10_000, int(limit.Cur)-500)
	if clients < 1000 {
		lane.Lacks(t, "only %d file descriptors are allowed", limit.Cur)
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

func TestALoneRequestTakesTwoSystemCallsAndAShareOfOthers(t *testing.T) {
	strace, err := process.Program("strace")
	if err != nil {
		lane.Lacks(t, "system calls cannot be counted: %v", err)
	}
	const clients, rounds = 50, 40
	for _, s := range both(t, "-t", "1", "-m", "64") {
		conns := s.connect(t, clients)
		summary := filepath.Join(t.TempDir(), s.name)
		tracer := exec.CommandContext(t.Context(), strace, "-f", "-c", "-U", "calls,name", "-o", summary,
			"-p", strconv.Itoa(s.Pid()))
		if err := tracer.Start(); err != nil {
			t.Fatal(err)
		}
		if !traced(s.Pid()) {
			_ = tracer.Process.Kill()
			_ = tracer.Wait()
			lane.Lacks(t, "strace is not allowed to trace here")
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
	_ = syscall.Kill(s.Pid(), syscall.SIGSTOP)
	for _, conn := range conns {
		_, _ = io.WriteString(conn, "get none\r\n")
	}
	_ = syscall.Kill(s.Pid(), syscall.SIGCONT)
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
