// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inprocess runs the cache server inside the process of a test, so that the race detector sees it.
package inprocess

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/server"
)

// maxItemSize is memcached's default.
const maxItemSize = 1 << 20

// Serve runs a cache server with so many MiB for items until the test ends, and returns its address on loopback. It
// allows all admin commands.
func Serve(t testing.TB, mebibytes int64) netip.AddrPort {
	t.Helper()
	e, err := engine.New(engine.Config{
		MaxBytes: mebibytes << 20, MaxItemSize: maxItemSize, SizeClasses: server.SizeClasses(server.Settings{}),
	})
	if err != nil {
		t.Fatalf("make the engine: %v", err)
	}
	srv, err := server.New(server.Config{
		Engine: e, MaxItemSize: maxItemSize, MaxConnections: 1024, AdminCommands: server.AllAdminCommands,
		Version: "1.6.45", Logger: slog.New(slog.DiscardHandler),
		Settings: server.Settings{Port: 11211, Interface: "127.0.0.1", Threads: 4},
	})
	if err != nil {
		t.Fatalf("make the server: %v", err)
	}
	l, err := server.Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(srv.Drain(ctx), <-served, e.Close()); err != nil {
			t.Errorf("end the server: %v", err)
		}
	})
	return netip.MustParseAddrPort(l.Addr().String())
}
