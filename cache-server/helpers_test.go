// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/memkeep/memkeep/test/process"
)

// binary is the path of the built command.
var binary string

func TestMain(m *testing.M) {
	os.Exit(process.Main(m, &binary))
}

// child is a running cache server.
type child struct{ *process.Process }

// startChild runs the binary until the test ends.
func startChild(t *testing.T, env []string, args ...string) *child {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), env...)
	return &child{process.MustStart(t, cmd)}
}

// exited waits until the process has ended and returns its exit code.
func (c *child) exited(t *testing.T) int {
	t.Helper()
	select {
	case <-c.Ended():
		return c.State().ExitCode()
	case <-time.After(20 * time.Second):
		t.Fatalf("it still runs:\n%s", c.Stderr())
		return -1
	}
}

// stop ends a process with a signal and waits for it.
func (c *child) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := c.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if code := c.exited(t); code != 0 && signal != syscall.SIGKILL {
		t.Fatalf("exit code %d:\n%s", code, c.Stderr())
	}
}

// said waits until the process has logged something.
func (c *child) said(t *testing.T, what string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(c.Stderr(), what); {
		if time.Now().After(deadline) {
			t.Fatalf("it did not log %q:\n%s", what, c.Stderr())
		}
		time.Sleep(time.Millisecond)
	}
}

// runBinary runs the binary to its end.
func runBinary(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(process.MustFreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// dialUntil connects as soon as somebody listens.
func dialUntil(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	return dialWith(t, &net.Dialer{}, network, addr)
}

// dialWith connects in the dialer's way as soon as somebody listens.
func dialWith(t *testing.T, dialer *net.Dialer, network, addr string) net.Conn {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, err := dialer.Dial(network, addr)
		if err == nil {
			t.Cleanup(func() { _ = conn.Close() })
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			return conn
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens on %s: %v", addr, err)
		}
		time.Sleep(time.Millisecond)
	}
}

func exchange(t *testing.T, conn net.Conn, request, want string) {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatalf("write: %v", err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// httpGet asks by hand, so that it works from any thread's network namespace.
func httpGet(t *testing.T, addr, path string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("dial %s: %v", addr, err)
	}
	defer func() { _ = conn.Close() }()
	return httpOver(t, conn, path)
}

func httpOver(t *testing.T, conn net.Conn, path string) string {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", path)
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return string(got)
}
