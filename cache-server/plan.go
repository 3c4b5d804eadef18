// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/server"
)

// plan is everything that flags and environment decide.
type plan struct {
	log          *slog.Logger
	server       server.Config // but for what build adds
	memory       int64
	addresses    []netip.AddrPort
	socket       string
	monitor      []netip.AddrPort
	drainTimeout time.Duration
	cluster      *clusterFile // nil where no file says what clients discover
	control      *controlPlan // nil where there is no control port
	testHooks    bool
	process      processPlan
	arena        arena
	heap         *heap
}

// processPlan is what flags ask of the process itself.
type processPlan struct {
	user       string
	daemon     bool
	pidFile    string
	portFile   string
	socketMask uint32
	coreDumps  bool
	lockMemory bool
}

// run serves until ctx ends or a client asks for a stop, then drains.
func (p *plan) run(ctx context.Context, getenv func(string) string) (err error) {
	if err := p.prepare(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	e, srv, err := p.build(stop)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.closeEngine(ctx, e)) }()
	defer p.heap.watch(ctx, e)()
	caches, monitors, err := p.listen(ctx)
	if err != nil {
		return err
	}
	if err := p.announce(caches, getenv); err != nil {
		return err
	}
	if p.process.pidFile != "" {
		defer func() { _ = os.Remove(p.process.pidFile) }()
	}
	drain := &drainer{srv: srv}
	stopControl := func() {}
	if p.control != nil {
		if stopControl, err = p.control.serve(ctx, p, srv, drain); err != nil {
			return err
		}
	}
	monitor := server.NewMonitor(srv, version)
	var wg sync.WaitGroup
	failed := make(chan error, len(caches)+len(monitors))
	for _, l := range caches {
		wg.Go(func() { failed <- srv.Serve(l) })
	}
	following, stopFollowing := context.WithCancel(ctx)
	defer stopFollowing()
	if p.cluster != nil {
		wg.Go(func() { p.cluster.watch(following) })
	}
	for _, l := range monitors {
		wg.Go(func() { failed <- monitor.Serve(l) })
	}
	p.log.Info("Serving", "version", version, "addresses", addressesOf(caches), "monitor", addressesOf(monitors),
		"memoryBytes", p.memory, "maxItemSize", p.server.MaxItemSize, "maxConnections", p.server.MaxConnections)
	err = p.await(ctx, failed, srv)
	<-drain.begin(ctx, p.drainTimeout)
	if drain.err != nil {
		p.log.Warn("Drained in part", "error", drain.err)
	}
	stopControl()
	const lastScrape = 2 * time.Second
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastScrape)
	defer cancel()
	if stopErr := monitor.Shutdown(end); stopErr != nil {
		p.log.Warn("Health and metrics stopped in the middle of an answer", "error", stopErr)
	}
	stopFollowing()
	wg.Wait()
	p.log.Info("Stopped")
	return err
}

// await returns when it is time to stop, with the error that is the reason, if it is one. Where the operator had
// the cache drained, the process stays until the end of the pod.
func (p *plan) await(ctx context.Context, failed <-chan error, srv *server.Server) error {
	for {
		select {
		case <-ctx.Done():
			p.log.Info("Draining", "timeout", p.drainTimeout.String())
			return nil
		case err := <-failed:
			if err != nil || !srv.Draining() {
				return err
			}
		}
	}
}

// prepare does what must precede all memory and sockets.
func (p *plan) prepare() error {
	if p.process.coreDumps {
		if err := raiseCoreLimit(); err != nil {
			return err
		}
	}
	if p.process.user != "" {
		if err := becomeUser(p.process.user); err != nil {
			return err
		}
	}
	if p.process.lockMemory {
		return lockMemory()
	}
	return nil
}

// build makes the engine and the server. stop is what a client's shutdown calls.
func (p *plan) build(stop func()) (*engine.Engine, *server.Server, error) {
	cfg := p.server
	config := engine.Config{MaxBytes: p.memory, MaxItemSize: cfg.MaxItemSize, NoEvict: cfg.Settings.NoEvict,
		SizeClasses: server.SizeClasses(cfg.Settings)}
	if p.testHooks {
		clock := newTestClock()
		config.Now, cfg.MoveClock = clock.now, clock.command
	}
	e, err := p.openEngine(config)
	if err != nil {
		return nil, nil, err
	}
	cfg.Engine, cfg.Version, cfg.Logger, cfg.Shutdown = e, protocolVersion, p.log, stop
	cfg.AdmitBudget, cfg.BudgetChanged, cfg.MemoryLimit = p.heap.admit, p.heap.kick, p.heap.kernelLimit
	switch {
	case p.cluster != nil:
		cfg.Membership = p.cluster
	case p.control != nil:
		cfg.Membership = &p.control.members
	}
	srv, err := server.New(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("make the server: %w", err)
	}
	return e, srv, nil
}

// announce writes the files that others wait for, and lets a process that waits for this one go.
func (p *plan) announce(caches []net.Listener, getenv func(string) string) error {
	if p.process.portFile != "" {
		if err := writeWhole(p.process.portFile, p.process.portFile+".lck", portLines(addressesOf(caches))); err != nil {
			return err
		}
	}
	if p.process.pidFile != "" {
		if err := writePID(p.process.pidFile); err != nil {
			return err
		}
	}
	if p.process.daemon {
		return detach(getenv, p.server.Verbosity > 0)
	}
	return nil
}

// listen binds everything or nothing.
func (p *plan) listen(ctx context.Context) (caches, monitors []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range append(caches, monitors...) {
				_ = l.Close()
			}
		}
	}()
	for _, addr := range p.addresses {
		l, err := server.Listen(ctx, addr)
		if err != nil {
			return caches, monitors, err
		}
		caches = append(caches, l)
		if backlog := p.server.Settings.Backlog; backlog > 0 {
			if err := server.SetBacklog(l, backlog); err != nil {
				return caches, monitors, fmt.Errorf("set the backlog of %s: %w", addr, err)
			}
		}
	}
	if p.socket != "" {
		l, err := listenSocket(ctx, p.socket, p.process.socketMask)
		if err != nil {
			return caches, monitors, err
		}
		caches = append(caches, l)
	}
	for _, addr := range p.monitor {
		l, err := server.Listen(ctx, addr)
		if err != nil {
			return caches, monitors, err
		}
		monitors = append(monitors, l)
	}
	return caches, monitors, nil
}

// listenSocket binds a UNIX socket in the place of one that nobody serves any more.
func listenSocket(ctx context.Context, path string, mask uint32) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("listen on %s: it exists and is no socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the old socket: %w", err)
		}
	}
	l, err := server.ListenUnix(ctx, path, mask)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func addressesOf(listeners []net.Listener) []string {
	names := make([]string, len(listeners))
	for i, l := range listeners {
		names[i] = l.Addr().String()
	}
	return names
}
