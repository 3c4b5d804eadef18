// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

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
	// AdmitBudget, if it is set, is asked before the budget changes; an error refuses the change. BudgetChanged
	// is told afterwards.
	AdmitBudget   func(bytes int64) error
	BudgetChanged func()
	// MemoryLimit, if it is set, tells the kernel's limit for this process in bytes; 0 means none.
	MemoryLimit func() int64
	// TransferBytes bounds what all connections together hold while they wait for their clients.
	// 0 means DefaultTransferBytes.
	TransferBytes int64
	// AdminCommands are the admin commands that clients may use. None are allowed unless listed.
	AdminCommands []AdminCommand
	// RefuseOwnAddress closes connections whose two ends have one address: what shares the pod's network
	// is no client.
	RefuseOwnAddress bool
	// GateClosed starts the server with a gate, which is closed until SetGate: nobody is answered.
	GateClosed bool
	// VerifiedPeers starts the server with a list of peers that is empty until SetPeers: nobody is answered.
	VerifiedPeers bool
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
	// IdleTimeout closes connections that have asked for nothing for so long, in whole seconds. 0 means never.
	IdleTimeout time.Duration
	// RequestsPerEvent is how many requests and keys of a connection are answered before others have their
	// turn. 0 means 256, or less if they bring long replies.
	RequestsPerEvent int
	// Loops is how many event loops serve the connections. 0 means one for every thread that executes Go.
	Loops int
	// BindingProtocol is what clients speak. The default is that the first byte of each decides.
	BindingProtocol Binding
	// Authenticator asks clients to prove who they are, by SASL within the binary protocol; the text
	// protocol is then not spoken. Nil means that nobody is asked.
	Authenticator Authenticator
	// Membership is what clients discover about the cluster. Nil means that there is nothing to discover.
	Membership Membership
	// DisableCAS shows 0 in place of each item's version.
	DisableCAS bool
	// PrefixDelimiter ends a key's prefix in stats detail; 0 means a colon.
	PrefixDelimiter byte
	// StatsDetail turns stats detail on from the start.
	StatsDetail bool
	// NoDump refuses the dumps of the crawler in memcached's words.
	NoDump bool
	// NoCrawler has the crawler's commands refused until lru_crawler enable.
	NoCrawler bool
	// CrawlerSleep and CrawlerLimit are what lru_crawler sleep and tocrawl are at the start.
	CrawlerSleep, CrawlerLimit int64
	// TrackSizes counts items by their size for stats sizes.
	TrackSizes bool
	// WatcherBuffer bounds what waits for one client of watch, in bytes; 0 means DefaultWatcherBuffer.
	WatcherBuffer int
	// Shutdown is called by the shutdown command where that is allowed.
	Shutdown func()
	// MoveClock stops the clock, lets it run or moves it by seconds, for debugtime. Nil, as it must be but in
	// tests, means that there is no such command.
	MoveClock func(pause, resume bool, seconds int64)
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
	classes     slabClasses
	crawler     crawler
	watchers    watchers
	verbosity   atomic.Int64
	accepted    atomic.Uint64
	acceptErrs  atomic.Uint64
	disabledUs  atomic.Uint64
	flushedAt   atomic.Int64 // engine seconds
	engineStart int64        // engine seconds
	foreignAt   atomic.Int64 // Unix second in which a foreign protocol was last logged
	refusedAt   atomic.Int64 // and a refused connection
	evictedAt   atomic.Int64 // and one whose address is served no more
	drained     atomic.Uint64
	nextID      atomic.Uint64
	idleKicks   atomic.Uint64 // of connections without a loop
	heldTotal   atomic.Uint64
	nonces      nonces
	changes     changes
	lobby       lobby
	lock        atomic.Pointer[lock]
	locks       atomic.Uint64 // how often it has become stricter
	confirmed   atomic.Int64  // when the list of peers was last set, in nanoseconds since the start
	draining    atomic.Bool
	stage       atomic.Int32

	ctx    context.Context // ends when Drain gives up on the connections that are left
	cancel context.CancelFunc

	mu        sync.Mutex
	listeners []listener
	conns     map[*conn]struct{} // connections without a loop
	open      int                // connections of both kinds
	loops     []*loop            // made by the first Serve
	nextLoop  int
	running   sync.WaitGroup // connections
	looping   sync.WaitGroup // loops
}

// listener is one, and its number for stats conns.
type listener struct {
	net.Listener
	id uint64
}

// The stages of a server, as its loops know them.
const (
	stageServing int32 = iota
	stageDraining
	stageClosing
	stageStopped
)

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
	if cfg.Authenticator != nil {
		if cfg.BindingProtocol == BindASCII {
			return nil, errors.New("the text protocol has no SASL: clients that must authenticate speak binary")
		}
		cfg.BindingProtocol = BindBinary
	}
	if cfg.TransferBytes == 0 {
		cfg.TransferBytes = DefaultTransferBytes(cfg.MaxItemSize, cfg.MaxConnections)
	}
	if cfg.RequestsPerEvent < 1 {
		cfg.RequestsPerEvent = turnWork
	}
	if cfg.Timeouts.Stall == 0 {
		cfg.Timeouts.Stall = defaultStall
	}
	if cfg.Timeouts.Budget == 0 {
		cfg.Timeouts.Budget = defaultBudgetWait
	}
	cfg.WatcherBuffer = cmp.Or(cfg.WatcherBuffer, DefaultWatcherBuffer)
	s := &Server{
		cfg: cfg, log: cfg.Logger, classes: newSlabClasses(&cfg.Settings),
		engine: cfg.Engine, started: time.Now(),
		engineStart: cfg.Engine.Now(),
		transfer:    newBudget(cfg.TransferBytes),
		refusals:    newReasonCounts(refusalReasons), closes: newReasonCounts(closeReasons),
		conns: make(map[*conn]struct{}),
	}
	s.lobby.s = s
	s.lock.Store(&lock{
		gated: cfg.GateClosed, open: !cfg.GateClosed, pinned: cfg.VerifiedPeers, verified: cfg.VerifiedPeers,
	})
	s.ctx, s.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // connections have no caller
	s.verbosity.Store(int64(cfg.Verbosity))
	s.detail.delimiter = cmp.Or(cfg.PrefixDelimiter, ':')
	s.detail.enabled.Store(cfg.StatsDetail)
	s.crawler.enabled.Store(!cfg.NoCrawler && s.allowed(AdminLRUCrawler))
	s.crawler.sleep.Store(cfg.CrawlerSleep)
	s.crawler.limit.Store(cfg.CrawlerLimit)
	return s, nil
}

// Serve accepts connections until Drain. A listener of sockets is served by the event loops; what any other
// accepts, by a goroutine each.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.listeners = append(s.listeners, listener{l, s.nextID.Add(1)})
	s.mu.Unlock()
	d, err := newDoor(l)
	if s.draining.Load() {
		_ = l.Close() // Drain may have closed it already
		if d != nil {
			_ = unix.Close(d.fd)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	if d == nil {
		return s.serveBlocking(l)
	}
	if err := s.startLoops(); err != nil {
		_ = unix.Close(d.fd)
		return err
	}
	s.mu.Lock()
	first := s.loops[s.nextLoop%len(s.loops)]
	s.nextLoop++
	s.mu.Unlock()
	first.addDoor(d)
	<-d.shut
	return nil
}

// startLoops makes the event loops if there are none yet.
func (s *Server) startLoops() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loops != nil {
		return nil
	}
	n := s.cfg.Loops
	if n < 1 {
		n = runtime.GOMAXPROCS(0)
	}
	loops := make([]*loop, 0, n)
	for range n {
		l, err := newLoop(s)
		if err != nil {
			for _, l := range loops {
				l.release()
			}
			return err
		}
		loops = append(loops, l)
	}
	s.loops = loops
	s.looping.Add(n)
	for _, l := range loops {
		go l.run()
	}
	return nil
}

// advance takes all loops to a stage.
func (s *Server) advance(stage int32) {
	s.stage.Store(stage)
	for _, l := range s.allLoops() {
		l.call()
	}
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
	listeners, open := s.listeners, s.open
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
	s.lobby.stop()
	s.drained.Add(uint64(open))
	s.advance(stageDraining)
	for _, c := range conns {
		c.wake()
	}
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	defer func() {
		s.cancel()
		s.advance(stageStopped)
		s.looping.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	s.mu.Lock()
	left := s.open
	for c := range s.conns {
		_ = c.nc.Close()
	}
	s.mu.Unlock()
	s.advance(stageClosing)
	<-done
	if left == 0 {
		return nil
	}
	return fmt.Errorf("close %d connections in the middle of a request: %w", left, context.Cause(ctx))
}
