// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package subject starts the servers that are compared, watches what they use, and ends them.
package subject

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/test/bench/load"
	"github.com/memkeep/memkeep/test/process"
)

const stopTimeout = 10 * time.Second

// Program is a server that can be started.
type Program struct {
	// Name stands for it in tables.
	Name string
	// Path is where its binary is.
	Path string
}

// Memcached is the memcached to compare with.
func Memcached() (Program, error) {
	path, err := process.Memcached()
	return Program{Name: "memcached", Path: path}, err
}

// Ours is this project's cache server, whose binary is at path.
func Ours(path string) Program { return Program{Name: "memkeep", Path: path} }

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
	*process.Process
	Addr netip.AddrPort
}

// Start runs the program on a free port of loopback and waits until it answers.
func Start(ctx context.Context, p Program, o Options) (*Server, error) {
	free, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	addr, err := netip.ParseAddrPort(free)
	if err != nil {
		return nil, err
	}
	flags := []string{
		"-t", strconv.Itoa(o.Threads), "-m", strconv.Itoa(o.MemoryMiB), "-c", strconv.Itoa(o.Connections), "-U", "0",
	}
	if o.MaxItem != "" {
		flags = append(flags, "-I", o.MaxItem)
	}
	cmd, err := process.Command(p.Path, free, flags...)
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	started, err := launch(cmd, o)
	if err != nil {
		return nil, err
	}
	if err := started.Await(ctx, free); err != nil {
		started.Kill()
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return &Server{Program: p, Process: started, Addr: addr}, nil
}

// launch forks from a thread that has the processors and the priority that the server is to inherit.
func launch(cmd *exec.Cmd, o Options) (p *process.Process, err error) {
	forked := make(chan struct{})
	go func() {
		// The thread is not unlocked when all went well: it lives as long as the server, which the kernel kills with it.
		runtime.LockOSThread()
		p, err = fork(cmd, o)
		close(forked)
		if err == nil {
			<-p.Ended()
		}
	}()
	<-forked
	return p, err
}

func fork(cmd *exec.Cmd, o Options) (*process.Process, error) {
	if len(o.CPUs) > 0 {
		var set unix.CPUSet
		for _, cpu := range o.CPUs {
			set.Set(cpu)
		}
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return nil, fmt.Errorf("pin to CPUs %v: %w", o.CPUs, err)
		}
	}
	if o.Realtime {
		if err := load.Realtime(); err != nil {
			return nil, err
		}
	}
	if o.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, o.Nice); err != nil {
			return nil, fmt.Errorf("set the priority to %d: %w", o.Nice, err)
		}
	}
	p, err := process.Start(cmd)
	if err != nil || o.Nice == 0 {
		return p, err
	}
	if err := NiceGroup(p.Pid(), o.Nice); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
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

// Stop asks the server to stop, and kills it where it does not.
func (s *Server) Stop() error { return s.Process.Stop(stopTimeout) }

// Ask sends one request on a connection of its own and returns the reply up to and with its end.
func (s *Server) Ask(ctx context.Context, request, end string) (string, error) {
	reply, err := process.Ask(ctx, s.Addr.String(), request, end)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.Name, err)
	}
	return reply, nil
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
