// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// maxMonitorConns bounds how many may watch at once, and with it the memory that they take.
const maxMonitorConns = 32

// Monitor answers questions about a server's health and numbers over HTTP.
type Monitor struct {
	http http.Server
}

// NewMonitor makes a monitor of s. build is the version of the binary.
func NewMonitor(s *Server, build string) *Monitor {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(s, build), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := s.Unready(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	}))
	return &Monitor{http: http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}}
}

// Serve answers on a listener until Shutdown.
func (m *Monitor) Serve(l net.Listener) error {
	if err := m.http.Serve(netutil.LimitListener(l, maxMonitorConns)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve health and metrics: %w", err)
	}
	return nil
}

// Shutdown stops answering.
func (m *Monitor) Shutdown(ctx context.Context) error {
	return m.http.Shutdown(ctx)
}
