// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/test/lane"
	"github.com/memkeep/memkeep/test/process"
)

// inNamespace runs f on a thread with a network of its own, in which 10.211.0.1 and 10.211.0.2 are this host.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		lane.Lacks(t, "making a network namespace needs root")
	}
	done := make(chan error, 1)
	go func() {
		// The thread is never unlocked, so that it and its namespace end with this goroutine.
		runtime.LockOSThread()
		var err error
		defer func() { done <- err }() // a test that fails ends this goroutine
		err = func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("make a network namespace: %w", err)
			}
			for _, args := range []string{
				"link set lo up", "addr add 10.211.0.1/32 dev lo", "addr add 10.211.0.2/32 dev lo",
				"addr add fd21:1::1/128 dev lo nodad", "addr add fd21:1::2/128 dev lo nodad",
			} {
				if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
					return fmt.Errorf("ip %s: %w: %s", args, err, out)
				}
			}
			f()
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// startFleet runs the binary as a pod's user on the given addresses.
func startFleet(t *testing.T, podIPs string, args ...string) *child {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"fleet", "--memory-bytes=67108864"}, args...)...)
	cmd.Env = []string{"POD_IPS=" + podIPs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	return &child{process.MustStart(t, cmd)}
}

// dialFrom connects from one address to another as soon as somebody listens.
func dialFrom(t *testing.T, from, to string) net.Conn {
	t.Helper()
	return dialWith(t, &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}, "tcp", to)
}

func TestAFleetServesItsAddressesAndNothingElse(t *testing.T) {
	inNamespace(t, func() {
		p := startFleet(t, "10.211.0.1,fd21:1::1", "--admin-commands=FlushAll")
		for _, ends := range [][2]string{
			{"10.211.0.2", "10.211.0.1:11211"}, {"fd21:1::2", "[fd21:1::1]:11211"},
		} {
			conn := dialFrom(t, ends[0], ends[1])
			exchange(t, conn, "set k 0 0 1\r\nx\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n")
			exchange(t, conn, "flush_all\r\nverbosity 1\r\n",
				"OK\r\nCLIENT_ERROR verbosity not allowed\r\n")
		}
		for _, addr := range []string{"127.0.0.1:11211", "10.211.0.2:11211", "[::1]:11211", "127.0.0.1:9150"} {
			if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
				_ = conn.Close()
				t.Errorf("somebody listens on %s", addr)
			}
		}
		for _, ends := range [][2]string{
			{"10.211.0.1", "10.211.0.1:11211"}, {"127.0.0.1", "10.211.0.1:11211"}, {"fd21:1::1", "[fd21:1::1]:11211"},
			{"::1", "[fd21:1::1]:11211"},
		} {
			if got, err := io.ReadAll(dialFrom(t, ends[0], ends[1])); len(got) > 0 ||
				err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("from its own address, %s: %q, %v", ends[0], got, err)
			}
		}
		metrics := httpOver(t, dialFrom(t, "10.211.0.2", "10.211.0.1:9150"), "/metrics")
		for _, want := range []string{"memcached_up 1", `memkeep_cache_connections_refused_total{reason="own_address"} 4`,
			"memcached_limit_bytes 6.7108864e+07"} {
			if !strings.Contains(metrics, want) {
				t.Errorf("%q is not among the metrics", want)
			}
		}
		if got := httpOver(t, dialFrom(t, "10.211.0.2", "10.211.0.1:9150"), "/readyz"); !strings.Contains(got, "200 OK") {
			t.Errorf("readyz: %q", got)
		}
		if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid())); err != nil ||
			!strings.Contains(string(status), "Uid:\t65532") {
			t.Errorf("it does not run as 65532: %v", err)
		}
		if info, err := os.Stat(fmt.Sprintf("/proc/%d/mem", p.Pid())); err != nil ||
			info.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Error("its memory is not root's alone: the process is dumpable")
		}
		if !strings.HasPrefix(p.Stderr(), `{"time":`) {
			t.Errorf("the log is no JSON: %q", p.Stderr())
		}
		_ = p.Signal(syscall.SIGTERM)
		if code := p.exited(t); code != 0 {
			t.Errorf("exit code %d\n%s", code, p.Stderr())
		}
	})
}

func TestAFleetRefusesAllAdminCommandsUnlessListed(t *testing.T) {
	inNamespace(t, func() {
		startFleet(t, "10.211.0.1")
		conn := dialFrom(t, "10.211.0.2", "10.211.0.1:11211")
		for _, command := range []string{"flush_all", "cache_memlimit 64", "verbosity 1", "stats reset", "stats detail on",
			"stats conns", "stats cachedump"} {
			name := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(command, " 64"), " 1"), " on")
			exchange(t, conn, command+"\r\n", "CLIENT_ERROR "+name+" not allowed\r\n")
		}
		exchange(t, conn, "shutdown\r\n", "SERVER_ERROR: shutdown not enabled\r\n")
		exchange(t, conn, "watch fetchers\r\n", "CLIENT_ERROR watch commands not allowed\r\n")
		exchange(t, conn, "lru_crawler metadump all\r\n", "CLIENT_ERROR lru crawler disabled\r\n")
		exchange(t, conn, "debugtime 5\r\n", "ERROR\r\n")
	})
}

// TestAFleetBehindItsLock starts as the operator starts pods that must not serve yet. Without an operator they serve
// nobody, and say so.
func TestAFleetBehindItsLock(t *testing.T) {
	for _, c := range []struct{ flag, readyz, metric string }{
		{"--gate=closed", "the gate is closed", "memkeep_cache_gate_open 0"},
		{"--peers=verified", "no list of verified peers", "memkeep_cache_peers_verified 1"},
	} {
		t.Run(c.flag, func(t *testing.T) {
			inNamespace(t, func() {
				startFleet(t, "10.211.0.1", c.flag)
				conn := dialFrom(t, "10.211.0.2", "10.211.0.1:11211")
				_, _ = io.WriteString(conn, "version\r\n")
				if got, err := io.ReadAll(conn); len(got) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
					t.Errorf("a client got %q and %v", got, err)
				}
				ready := httpOver(t, dialFrom(t, "10.211.0.2", "10.211.0.1:9150"), "/readyz")
				if !strings.Contains(ready, "503") || !strings.Contains(ready, c.readyz) {
					t.Errorf("readyz: %q", ready)
				}
				if alive := httpOver(t, dialFrom(t, "10.211.0.2", "10.211.0.1:9150"), "/healthz"); !strings.Contains(alive, "200") {
					t.Errorf("healthz: %q", alive)
				}
				metrics := httpOver(t, dialFrom(t, "10.211.0.2", "10.211.0.1:9150"), "/metrics")
				if !strings.Contains(metrics, c.metric) {
					t.Errorf("%q is not among the metrics", c.metric)
				}
			})
		})
	}
}

func TestAFleetOnAnAddressThatIsNotThereFails(t *testing.T) {
	inNamespace(t, func() {
		p := startFleet(t, "10.211.0.1,10.211.0.9")
		if code := p.exited(t); code != exitFailed || !strings.Contains(p.Stderr(), "10.211.0.9") {
			t.Errorf("exit code %d\n%s", code, p.Stderr())
		}
	})
}
