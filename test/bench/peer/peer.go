// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package peer runs Debian's memcached and this project's cache server as processes on loopback, and reads
// what they cost: for measurements of one beside the other.
package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startTimeout bounds how long a server may take until it answers.
const startTimeout = 10 * time.Second

// Server is a cache server process that listens on loopback.
type Server struct {
	// Name says which server it is, for tables.
	Name string
	// Addr is its address.
	Addr string

	cmd  *exec.Cmd
	done chan error
}

// Memcached is the path of Debian's memcached as `hack/debs.sh memcached` unpacks it, of MEMCACHED_BIN, or of
// one on the PATH.
func Memcached() (string, error) {
	if path := os.Getenv("MEMCACHED_BIN"); path != "" {
		return path, nil
	}
	cache := os.Getenv("MEMKEEP_CACHE")
	if cache == "" {
		if dir, err := os.UserCacheDir(); err == nil {
			cache = filepath.Join(dir, "memkeep")
		}
	}
	path := filepath.Join(cache, "bin", "memcached")
	if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
		return path, nil
	}
	path, err := exec.LookPath("memcached")
	if err != nil {
		return "", errors.New("memcached is not there to compare with: run hack/debs.sh memcached, or set MEMCACHED_BIN")
	}
	return path, nil
}

// StartMemcached runs memcached with a limit of so many MiB and so many threads.
func StartMemcached(ctx context.Context, mebibytes int64, threads int) (*Server, error) {
	path, err := Memcached()
	if err != nil {
		return nil, err
	}
	var args []string
	if os.Getuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	return start(ctx, "memcached", path, mebibytes, threads, args...)
}

// StartOurs runs the cache server at path in the same way.
func StartOurs(ctx context.Context, path string, mebibytes int64, threads int) (*Server, error) {
	return start(ctx, "memkeep", path, mebibytes, threads)
}

func start(ctx context.Context, name, path string, mebibytes int64, threads int, more ...string) (*Server, error) {
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("split %s: %w", addr, err)
	}
	args := append([]string{"-l", host, "-p", port, "-m", strconv.FormatInt(mebibytes, 10),
		"-t", strconv.Itoa(threads)}, more...)
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	s := &Server{Name: name, Addr: addr, cmd: cmd, done: make(chan error, 1)}
	go func() { s.done <- cmd.Wait() }()
	deadline := time.Now().Add(startTimeout)
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil {
			return s, conn.Close()
		}
		select {
		case <-s.done:
			return nil, fmt.Errorf("%s ended at its start: %s", path, strings.TrimSpace(stderr.String()))
		default:
		}
		if time.Now().After(deadline) {
			s.Stop()
			return nil, fmt.Errorf("%s does not answer on %s: %w", path, addr, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// Pid is the process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Stop ends the process and waits for its end.
func (s *Server) Stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(startTimeout):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// RSS is the process's resident memory in bytes, as VmRSS of /proc tells it.
func (s *Server) RSS() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		return 0, fmt.Errorf("read memory of %s: %w", s.Name, err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read memory of %s: %w", s.Name, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("read memory of %s: no VmRSS", s.Name)
}
