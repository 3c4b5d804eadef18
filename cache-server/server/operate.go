// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// What the operator asks and changes, beside the gate and the peers.

// Listening is a socket that clients connect to.
type Listening struct {
	// Address is where it listens.
	Address net.Addr
	// Accepting tells that the kernel has it listening and that the server takes connections from it.
	Accepting bool
}

// Listening returns the sockets that clients connect to, as the kernel has them at this moment.
func (s *Server) Listening() []Listening {
	s.mu.Lock()
	listeners := append([]listener(nil), s.listeners...)
	serving := s.loops != nil && !s.draining.Load()
	s.mu.Unlock()
	out := make([]Listening, len(listeners))
	for i, l := range listeners {
		out[i] = Listening{Address: l.Addr(), Accepting: serving && kernelListens(l.Listener)}
	}
	return out
}

// kernelListens asks the kernel whether a socket accepts connections.
func kernelListens(l net.Listener) bool {
	socket, ok := l.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	accepts := 0
	var optErr error
	err = raw.Control(func(fd uintptr) {
		accepts, optErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	})
	return errors.Join(err, optErr) == nil && accepts == 1
}

// Statistics returns what the stats command tells.
func (s *Server) Statistics() map[string]string {
	stats := s.generalStats()
	out := make(map[string]string, len(stats))
	for _, st := range stats {
		out[st.name] = st.value
	}
	return out
}

// Budget is what items and index may use, in bytes.
func (s *Server) Budget() int64 {
	budget, _ := s.engine.Budget()
	return budget
}

// SetBudget changes what items and index may use, in bytes.
func (s *Server) SetBudget(bytes int64) error {
	if s.cfg.MaxBudget > 0 && bytes > s.cfg.MaxBudget {
		return fmt.Errorf("budget %d is above the limit of %d", bytes, s.cfg.MaxBudget)
	}
	if s.cfg.AdmitBudget != nil {
		if err := s.cfg.AdmitBudget(bytes); err != nil {
			return err
		}
	}
	if err := s.engine.SetBudget(bytes); err != nil {
		return err //nolint:wrapcheck // it says what the budget may be
	}
	if s.cfg.BudgetChanged != nil {
		s.cfg.BudgetChanged()
	}
	s.log.Info("Budget changed", "bytes", bytes)
	return nil
}
