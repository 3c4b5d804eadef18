// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package subject starts the servers that are compared, watches what they use, and ends them.
package subject

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/test/bench/load"
)

const (
	startTimeout = 20 * time.Second
	stopTimeout  = 10 * time.Second
)

// Program is a server that can be started.
type Program struct {
	// Name stands for it in tables.
	Name string
	// Path is where its binary is.
	Path string
}

// Options are what all servers are started with alike, as memcached's flags.
type Options struct {
	Threads     int
	MemoryMiB   int
	Connections int
	MaxItem     string // -I, the default where empty
	// CPUs are the processors that the server is pinned to from its first instruction on.
	CPUs []int
	// Nice is the priority to run at, 0 being normal.
	Nice int
	// Realtime runs it before all that is not.
	Realtime bool
}

// Server is a running server.
type Server struct {
	Program
	Addr netip.AddrPort

	cmd    *exec.Cmd
	ended  chan struct{}
	stderr *tail
}

// Start runs the program on a free port of loopback and waits until it answers.
func Start(ctx context.Context, p Program, o Options) (*Server, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	args := []string{
		"-l", "127.0.0.1", "-p", strconv.Itoa(int(addr.Port())), "-t", strconv.Itoa(o.Threads),
		"-m", strconv.Itoa(o.MemoryMiB), "-c", strconv.Itoa(o.Connections), "-U", "0",
	}
	if o.MaxItem != "" {
		args = append(args, "-I", o.MaxItem)
	}
	if p.isMemcached() && os.Getuid() == 0 {
		args = append(args, "-u", "nobody") // it refuses to run as root
	}
	s := &Server{Program: p, Addr: addr, ended: make(chan struct{}), stderr: new(tail)}
	// Not CommandContext: an interrupt ends servers through Stop, by their number and in order.
	s.cmd = exec.Command(p.Path, args...)
	s.cmd.Stderr = s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.launch(o); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Path, err)
	}
	if err := s.await(ctx); err != nil {
		_ = s.Stop()
		return nil, err
	}
	return s, nil
}

func (p Program) isMemcached() bool { return strings.HasPrefix(filepath.Base(p.Path), "memcached") }

// launch forks from a thread that has the processors and the priority that the server is to inherit.
func (s *Server) launch(o Options) error {
	started := make(chan error)
	go func() {
		// The thread is not unlocked when all went well: it lives as long as the server, which the kernel kills with it.
		runtime.LockOSThread()
		if err := s.fork(o); err != nil {
			started <- err
			return
		}
		started <- nil
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	return <-started
}

func (s *Server) fork(o Options) error {
	if len(o.CPUs) > 0 {
		var set unix.CPUSet
		for _, cpu := range o.CPUs {
			set.Set(cpu)
		}
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("pin to CPUs %v: %w", o.CPUs, err)
		}
	}
	if o.Realtime {
		if err := load.Realtime(); err != nil {
			return err
		}
	}
	if o.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, o.Nice); err != nil {
			return fmt.Errorf("set the priority to %d: %w", o.Nice, err)
		}
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	if o.Nice != 0 {
		return NiceGroup(s.Pid(), o.Nice)
	}
	return nil
}

// NiceGroup sets the priority of the session that the process belongs to. Where the kernel groups tasks by session, a
// process's own priority counts within its session alone.
func NiceGroup(pid, nice int) error {
	err := os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte(strconv.Itoa(nice)), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("set the session's priority to %d: %w", nice, err)
	}
	return nil
}

// await asks for the version until there is an answer.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if version, err := s.Ask(ctx, "version\r\n", "\r\n"); err == nil && strings.HasPrefix(version, "VERSION ") {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("%s ended at once: %s", s.Name, s.stderr)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer on %s: %w: %s", s.Name, s.Addr, ctx.Err(), s.stderr)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Stop asks the server to stop, and kills it where it does not.
func (s *Server) Stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
		return nil
	case <-time.After(stopTimeout):
		_ = s.cmd.Process.Kill()
		<-s.ended
		return fmt.Errorf("%s did not stop within %s", s.Name, stopTimeout)
	}
}

// Pid is the server's process number.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Ask sends one request on a connection of its own and returns the reply up to and with its end.
func (s *Server) Ask(ctx context.Context, request, end string) (string, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr.String())
	if err != nil {
		return "", fmt.Errorf("connect to %s: %w", s.Name, err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(stopTimeout)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return "", fmt.Errorf("ask %s: %w", s.Name, err)
	}
	var reply []byte
	buf := make([]byte, 16<<10)
	for !bytes.HasSuffix(reply, []byte(end)) {
		n, err := conn.Read(buf)
		if err != nil {
			return "", fmt.Errorf("read the reply of %s: %w", s.Name, err)
		}
		reply = append(reply, buf[:n]...)
	}
	return string(reply), nil
}

// Stat returns one number of the general statistics.
func (s *Server) Stat(ctx context.Context, name string) (uint64, error) {
	stats, err := s.Ask(ctx, "stats\r\n", "END\r\n")
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(stats, "STAT "+name+" ")
	if !found {
		return 0, fmt.Errorf("%s has no statistic %s", s.Name, name)
	}
	value, _, _ := strings.Cut(rest, "\r\n")
	return strconv.ParseUint(value, 10, 64)
}

func freeAddress() (netip.AddrPort, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, errors.New("find a free port: no TCP address")
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(addr.Port)), nil
}

// tail keeps the last lines that a server wrote.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 2 << 10

// Write keeps the end of what was written.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > tailSize {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailSize:]...)
	}
	return len(p), nil
}

// String is what was kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}
