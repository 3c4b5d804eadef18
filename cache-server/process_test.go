// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
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

// waitFor reads a file once it is there.
func waitFor(t *testing.T, path string) string {
	t.Helper()
	for range 400 {
		if text, err := os.ReadFile(path); err == nil && len(text) > 0 {
			return string(text)
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("%s is not there", path)
	return ""
}

func dialPort(t *testing.T, port int) net.Conn {
	t.Helper()
	return dialUntil(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

func TestADaemonServesWhenItsParentIsGone(t *testing.T) {
	dir := t.TempDir()
	pidFile, portFile := filepath.Join(dir, "pid"), filepath.Join(dir, "ports")
	code, _, stderr := runBinary(t, []string{"MEMCACHED_PORT_FILENAME=" + portFile},
		"-d", "-p", "-1", "-P", pidFile)
	if code != exitOK {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(waitFor(t, pidFile)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	var port int
	if _, err := fmt.Sscanf(waitFor(t, portFile), "TCP INET: %d\n", &port); err != nil {
		t.Fatalf("read the file of ports: %v", err)
	}
	exchange(t, dialPort(t, port), "version\r\n", "VERSION "+protocolVersion+"\r\n")
	_ = syscall.Kill(pid, syscall.SIGTERM)
	for range 400 {
		if _, err := os.Stat(pidFile); os.IsNotExist(err) {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Error("the file of the process number outlives it")
}

func TestADaemonThatCannotServeSaysSo(t *testing.T) {
	code, _, stderr := runBinary(t, nil, "-d", "-s", t.TempDir())
	if code != exitFailed || !strings.Contains(stderr, "no socket") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestRootBecomesAnotherUserOnEveryThread(t *testing.T) {
	if os.Getuid() != 0 {
		lane.Lacks(t, "only root can become another user")
	}
	portFile := filepath.Join(t.TempDir(), "ports")
	for dir := filepath.Dir(portFile); dir != filepath.Clean(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	p := startChild(t, []string{"MEMCACHED_PORT_FILENAME=" + portFile}, "-p", "-1", "-u", "nobody")
	waitFor(t, portFile)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.Pid()))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // that thread is gone
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			if words := strings.Fields(line); len(words) == 5 && (words[0] == "Uid:" || words[0] == "Gid:") {
				for _, id := range words[1:] {
					if id == "0" {
						t.Errorf("%s: %s", task, line)
					}
				}
			}
		}
	}
}

func TestTestHooksMoveTheClock(t *testing.T) {
	for _, c := range []struct {
		name, binary string
		args         []string
		want         string
	}{
		{"not unless asked for", binary, nil, "ERROR\r\n"},
		{"with the flag", binary, []string{"--test-hooks"}, "OK\r\n"},
		{"under the name of memcached's build for tests", "memcached-debug", nil, "OK\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			portFile := filepath.Join(t.TempDir(), "ports")
			args := append([]string{"-p", "-1"}, c.args...)
			cmd := exec.Command(binary, args...)
			cmd.Args[0] = c.binary
			cmd.Env = append(os.Environ(), "MEMCACHED_PORT_FILENAME="+portFile)
			process.MustStart(t, cmd)
			var port int
			if _, err := fmt.Sscanf(waitFor(t, portFile), "TCP INET: %d\n", &port); err != nil {
				t.Fatal(err)
			}
			conn := dialPort(t, port)
			exchange(t, conn, "set k 0 100 1\r\nx\r\n", "STORED\r\n")
			exchange(t, conn, "debugtime 101\r\n", c.want)
			if c.want == "OK\r\n" {
				exchange(t, conn, "get k\r\n", "END\r\n")
			} else {
				exchange(t, conn, "get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n")
			}
		})
	}
}

func TestFlagsTurnCommandsOff(t *testing.T) {
	portFile := filepath.Join(t.TempDir(), "ports")
	p := startChild(t, []string{"MEMCACHED_PORT_FILENAME=" + portFile},
		"-p", "-1", "-F", "-X", "-W", "-A", "-C", "-M", "-D", "/", "-o", "modern,track_sizes")
	var port int
	if _, err := fmt.Sscanf(waitFor(t, portFile), "TCP INET: %d\n", &port); err != nil {
		t.Fatal(err)
	}
	conn := dialPort(t, port)
	for request, want := range map[string]string{
		"flush_all\r\n":                "CLIENT_ERROR flush_all not allowed\r\n",
		"stats cachedump 1 1\r\n":      "CLIENT_ERROR stats cachedump not allowed\r\n",
		"lru_crawler metadump all\r\n": "ERROR metadump not allowed\r\n",
		"lru_crawler mgdump all\r\n":   "ERROR key dump not allowed\r\n",
		"watch\r\n":                    "CLIENT_ERROR watch commands not allowed\r\n",
		"shutdown now\r\n":             "CLIENT_ERROR invalid shutdown mode\r\n",
		"set a/b 0 0 1\r\nx\r\n":       "STORED\r\n",
	} {
		exchange(t, conn, request, want)
	}
	exchange(t, conn, "gets a/b\r\n", "VALUE a/b 0 1 0\r\nx\r\nEND\r\n")
	exchange(t, conn, "stats sizes\r\n", "STAT 64 1\r\nEND\r\n")
	exchange(t, conn, "shutdown\r\n", "")
	if code := p.exited(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.Stderr())
	}
}
