// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
)

// Config is what a server needs to know.
type Config struct {
	// Engine holds the items.
	Engine *engine.Engine
	// MaxItemSize is the engine's limit for one item, in bytes as engine.ItemSize counts them.
	MaxItemSize int
	// MaxConnections is how many clients may be connected at once.
	MaxConnections int
	// MaxBudget is the largest budget that cache_memlimit may set, in bytes; 0 means no limit.
	MaxBudget int64
	// TransferBytes bounds what all connections together hold while they wait for their clients.
	// 0 means DefaultTransferBytes.
	TransferBytes int64
	// AdminCommands are the admin commands that clients may use. None are allowed unless listed.
	AdminCommands []AdminCommand
	// RefuseOwnAddress closes connections whose two ends have one address: what shares the pod's network
	// is no client.
	RefuseOwnAddress bool
	// Version is what the version command answers.
	Version string
	// Logger receives what happens, never a key or a value.
	Logger *slog.Logger
	// LogLevel is raised by the verbosity command if it is set.
	LogLevel *slog.LevelVar
	// Verbosity is the level at the start.
	Verbosity int
	// Settings are what stats settings tells beside the rest.
	Settings Settings
	// Timeouts bound how long the server waits for clients. Zero fields mean defaults.
	Timeouts Timeouts
}

// Timeouts bound how long the server waits for clients that hold its memory.
type Timeouts struct {
	// Stall is how long a large value or a reply may stand still, beside the time that its bytes take at
	// the slowest rate allowed. Default 15 s.
	Stall time.Duration
	// Budget is how long a large request or reply waits for memory. Default 1 s.
	Budget time.Duration
}

const (
	defaultStall      = 15 * time.Second
	defaultBudgetWait = time.Second
	// slowestRate is how many bytes a second a client must read or write of what is large.
	slowestRate = 128 << 10
)

// DefaultTransferBytes is the budget for what connections hold while they wait: a few of the largest items,
// and a share for every connection.
func DefaultTransferBytes(maxItemSize, maxConnections int) int64 {
	const perConnection = 12 << 10
	return 4*int64(maxItemSize) + perConnection*int64(maxConnections) + 4<<20
}

// Server serves the cache protocol on any number of listeners.
type Server struct {
	cfg      Config
	log      *slog.Logger
	engine   *engine.Engine
	started  time.Time
	transfer *budget
	waiters  atomic.Int64

	counts      counters
	refusals    reasonCounts
	closes      reasonCounts
	detail      prefixes
	verbosity   atomic.Int64
	accepted    atomic.Uint64
	acceptErrs  atomic.Uint64
	disabledUs  atomic.Uint64
	flushedAt   atomic.Int64 // engine seconds
	engineStart int64        // engine seconds
	foreignAt   atomic.Int64 // Unix second in which a foreign protocol was last logged
	drained     atomic.Uint64
	nextID      atomic.Uint64
	draining    atomic.Bool

	ctx    context.Context // ends when Drain gives up on the connections that are left
	cancel context.CancelFunc

	mu        sync.Mutex
	listeners []net.Listener
	conns     map[*conn]struct{}
	running   sync.WaitGroup
}

// New makes a server that does not listen yet.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Engine == nil:
		return nil, errors.New("no engine is given")
	case cfg.Logger == nil:
		return nil, errors.New("no logger is given")
	case cfg.MaxConnections < 1:
		return nil, fmt.Errorf("max connections is %d: it must be at least 1", cfg.MaxConnections)
	case cfg.MaxItemSize < 1:
		return nil, fmt.Errorf("max item size is %d: it must be at least 1", cfg.MaxItemSize)
	}
	if cfg.TransferBytes == 0 {
		cfg.TransferBytes = DefaultTransferBytes(cfg.MaxItemSize, cfg.MaxConnections)
	}
	if cfg.Timeouts.Stall == 0 {
		cfg.Timeouts.Stall = defaultStall
	}
	if cfg.Timeouts.Budget == 0 {
		cfg.Timeouts.Budget = defaultBudgetWait
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, engine: cfg.Engine, started: time.Now(),
		engineStart: cfg.Engine.Now(),
		transfer:    newBudget(cfg.TransferBytes),
		refusals:    newReasonCounts(refusalReasons), closes: newReasonCounts(closeReasons),
		conns: make(map[*conn]struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // connections have no caller
	s.verbosity.Store(int64(cfg.Verbosity))
	return s, nil
}

// Serve accepts connections until the listener is closed by Drain.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	if s.draining.Load() {
		return l.Close()
	}
	backoff := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err == nil {
			backoff = 0
			s.admit(nc)
			continue
		}
		if s.draining.Load() || errors.Is(err, net.ErrClosed) {
			return nil
		}
		// Out of file descriptors, most of the time: those who are connected go on.
		s.acceptErrs.Add(1)
		backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
		s.log.Warn("Accept failed", "error", err, "retryIn", backoff.String())
		s.disabledUs.Add(uint64(backoff.Microseconds()))
		time.Sleep(backoff)
	}
}

// admit starts a connection or refuses it.
func (s *Server) admit(nc net.Conn) {
	if s.cfg.RefuseOwnAddress && sameAddress(nc) {
		s.refuse(nc, reasonOwnAddress)
		return
	}
	c := newConn(s, nc)
	s.mu.Lock()
	draining, full := s.draining.Load(), len(s.conns) >= s.cfg.MaxConnections
	if !draining && !full {
		s.conns[c] = struct{}{}
		s.running.Add(1)
	}
	s.mu.Unlock()
	switch {
	case draining:
		s.refuse(nc, reasonDraining)
	case full:
		s.refuse(nc, reasonTooMany)
	default:
		s.accepted.Add(1)
		go c.serve()
	}
}

// refuse closes a connection that was not started.
func (s *Server) refuse(nc net.Conn, reason string) {
	s.refusals[reason].Add(1)
	s.log.Debug("Connection refused", "reason", reason, "peer", nc.RemoteAddr().String())
	if reason == reasonTooMany {
		writeRefusal(nc)
	}
	_ = nc.Close()
}

// forget ends the bookkeeping of a connection.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.running.Done()
}

// Draining tells whether Drain was called.
func (s *Server) Draining() bool {
	return s.draining.Load()
}

// Drain stops accepting, lets every connection answer what it has read, and closes them all. It returns when
// the last is closed, or closes what is left when ctx ends and says how many those were.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining.Store(true)
	listeners := s.listeners
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
	for _, c := range conns {
		c.wake()
	}
	s.drained.Add(uint64(len(conns)))
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		s.cancel()
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	s.mu.Lock()
	left := len(s.conns)
	for c := range s.conns {
		_ = c.nc.Close()
	}
	s.mu.Unlock()
	<-done
	if left == 0 {
		return nil
	}
	return fmt.Errorf("close %d connections in the middle of a request: %w", left, context.Cause(ctx))
}

// sameAddress tells whether both ends of a TCP connection have one address.
func sameAddress(nc net.Conn) bool {
	local, ok1 := nc.LocalAddr().(*net.TCPAddr)
	remote, ok2 := nc.RemoteAddr().(*net.TCPAddr)
	return ok1 && ok2 && local.IP.Equal(remote.IP)
}
