// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
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
	level        *slog.LevelVar
	memory       int64
	maxItemSize  int64
	connections  int
	addresses    []netip.AddrPort
	socket       string
	monitor      []netip.AddrPort
	admin        []server.AdminCommand
	maxBudget    int64
	verbosity    int
	settings     server.Settings
	refuseOwn    bool
	drainTimeout time.Duration
	cluster      *clusterFile // nil where clients discover nothing
}

// run serves until ctx ends, then drains.
func (p *plan) run(ctx context.Context) error {
	e, err := engine.New(engine.Config{MaxBytes: p.memory, MaxItemSize: int(p.maxItemSize)})
	if err != nil {
		return fmt.Errorf("make the engine: %w", err)
	}
	cfg := server.Config{
		Engine: e, MaxItemSize: int(p.maxItemSize), MaxConnections: p.connections, MaxBudget: p.maxBudget,
		AdminCommands: p.admin, RefuseOwnAddress: p.refuseOwn, Version: protocolVersion,
		Logger: p.log, LogLevel: p.level, Verbosity: p.verbosity, Settings: p.settings,
	}
	if p.cluster != nil {
		cfg.Membership = p.cluster
	}
	srv, err := server.New(cfg)
	if err != nil {
		return fmt.Errorf("make the server: %w", err)
	}
	caches, monitors, err := p.listen(ctx)
	if err != nil {
		return err
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
		"memoryBytes", p.memory, "maxItemSize", p.maxItemSize, "maxConnections", p.connections)
	select {
	case <-ctx.Done():
		p.log.Info("Draining", "timeout", p.drainTimeout.String())
	case err = <-failed:
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.drainTimeout)
	defer cancel()
	if drainErr := srv.Drain(drain); drainErr != nil {
		p.log.Warn("Drained in part", "error", drainErr)
	}
	const lastScrape = 2 * time.Second
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastScrape)
	defer cancel()
	if stopErr := monitor.Shutdown(end); stopErr != nil {
		p.log.Warn("Health and metrics stopped in the middle of an answer", "error", stopErr)
	}
	stopFollowing()
	wg.Wait()
	if closeErr := e.Close(); err == nil && closeErr != nil {
		return fmt.Errorf("close the engine: %w", closeErr)
	}
	p.log.Info("Stopped")
	return err
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
	}
	if p.socket != "" {
		l, err := listenSocket(ctx, p.socket)
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

// listenSocket binds a UNIX socket for its owner alone, in the place of one that nobody serves any more.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("listen on %s: it exists and is no socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the old socket: %w", err)
		}
	}
	l, err := server.ListenUnix(ctx, path)
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
