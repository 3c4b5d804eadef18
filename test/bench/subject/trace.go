// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package subject

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/memkeep/memkeep/test/process"
)

// Tracing is strace at work on a server.
type Tracing struct {
	cmd *exec.Cmd
	dir string
}

// Trace counts the system calls of the server and all its threads from now on.
func (s *Server) Trace(ctx context.Context, strace string) (*Tracing, error) {
	dir, err := os.MkdirTemp("", "bench-strace-")
	if err != nil {
		return nil, err
	}
	t := &Tracing{dir: dir}
	t.cmd = exec.Command(strace, "-f", "-c", "-o", t.summary(), "-p", strconv.Itoa(s.Pid()))
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr := new(process.Output)
	t.cmd.Stderr = stderr
	if err := t.cmd.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("start strace: %w", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !s.traced() {
		if ctx.Err() != nil || time.Now().After(deadline) {
			_, _ = t.Stop()
			return nil, fmt.Errorf("strace does not attach to process %d: %s", s.Pid(), stderr)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return t, nil
}

func (t *Tracing) summary() string { return filepath.Join(t.dir, "summary") }

// traced tells whether every thread has a tracer.
func (s *Server) traced() bool {
	statuses, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.Pid()))
	if err != nil || len(statuses) == 0 {
		return false
	}
	for _, path := range statuses {
		status, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(status), "\nTracerPid:\t0\n") {
			return false
		}
	}
	return true
}

// Stop detaches strace and returns what it counted.
func (t *Tracing) Stop() (Calls, error) {
	defer func() { _ = os.RemoveAll(t.dir) }()
	_ = t.cmd.Process.Signal(syscall.SIGINT)
	done := make(chan error, 1)
	go func() { done <- t.cmd.Wait() }()
	select {
	case <-done: // interrupted, it exits with an error
	case <-time.After(10 * time.Second):
		_ = t.cmd.Process.Kill()
		<-done
		return Calls{}, errors.New("strace did not stop")
	}
	summary, err := os.ReadFile(t.summary())
	if err != nil {
		return Calls{}, err
	}
	return parseCalls(string(summary))
}

// Calls are system calls that were counted.
type Calls struct {
	// All are all of them, Network those that read, write or wait for sockets. The others come with time, not with
	// requests: the Go runtime's sleeps, for one.
	All, Network uint64
}

// parseCalls reads strace's summary: percent, seconds, microseconds a call, calls, errors where there were some, and
// the call's name.
func parseCalls(summary string) (Calls, error) {
	var c Calls
	end := -1 // of the column of calls
	for line := range strings.Lines(summary) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "--"):
			continue
		case fields[0] == "%":
			before, _, found := strings.Cut(line, " calls")
			if !found {
				return c, fmt.Errorf("strace's summary has no column of calls but %q", line)
			}
			end = len(before) + len(" calls")
			continue
		case end < 0 || len(line) < end:
			return c, fmt.Errorf("strace's summary has the line %q", line)
		}
		columns := line[:end]
		calls, err := strconv.ParseUint(columns[strings.LastIndexByte(columns, ' ')+1:], 10, 64)
		if err != nil {
			return c, fmt.Errorf("strace's summary has the line %q: %w", line, err)
		}
		name := fields[len(fields)-1]
		if name == "total" {
			c.All = calls
		} else if isNetwork(name) {
			c.Network += calls
		}
	}
	if c.All == 0 {
		return c, errors.New("strace's summary has no total")
	}
	return c, nil
}

func isNetwork(call string) bool {
	for _, prefix := range []string{"read", "write", "recv", "send", "epoll_", "poll", "ppoll", "accept"} {
		if strings.HasPrefix(call, prefix) {
			return true
		}
	}
	return false
}
