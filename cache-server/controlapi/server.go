// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readTimeout bounds how long a request takes to come in, and writeTimeout
	// how long a piece of an answer takes to go out.
	readTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	// pingAfter is how long a connection may be silent before it is asked whether
	// it lives.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
	// maxStreams is how many requests a connection may have at once.
	maxStreams = 16
	maxHeader  = 8 << 10
	// maxBuffer is what a connection may send before a handler reads it.
	maxBuffer = 64 << 10
	// quiet is how long nothing is logged about refusals after one was.
	quiet = 10 * time.Second
)

// ServerConfig is what a Server needs to know.
type ServerConfig struct {
	// Identity is who the pod is.
	Identity *Identity
	// Logger hears what happens.
	Logger *slog.Logger
	// Build is the version of the program.
	Build string
	// State returns what the pod knows about itself; Server adds what it knows
	// about the control port. Nil for a pod that knows no more than that.
	State func() State
	// Changed returns a channel that is closed with the next change of State. Nil
	// for a pod whose state does not change.
	Changed func() <-chan struct{}
}

// Server is the control port of a pod. It lets in the operator alone, has it
// enrol the pod, tells the pod's state, and answers what it is given to answer.
type Server struct {
	cfg     ServerConfig
	mux     *http.ServeMux
	http    http.Server
	guests  crowd
	boot    string
	refused atomic.Uint64
	toldAt  atomic.Int64 // Unix nanoseconds

	watchPeriod time.Duration
	stopping    context.Context // ends with Close
	stop        context.CancelFunc

	mu        sync.Mutex
	changed   chan struct{} // closed by Touch
	anterooms []*anteroom
	serving   sync.WaitGroup
}

// NewServer makes a control port that does not listen yet.
func NewServer(cfg ServerConfig) *Server {
	s := &Server{
		cfg: cfg, mux: http.NewServeMux(), guests: crowd{most: maxGuests},
		boot: rand.Text(), changed: make(chan struct{}), watchPeriod: watchPeriod,
	}
	s.stopping, s.stop = context.WithCancel(context.Background()) //nolint:forbidigo // requests have no caller
	s.http = http.Server{
		Handler:     http.HandlerFunc(s.answer),
		TLSConfig:   base(), // connections come secured; net/http takes from it that HTTP/2 is meant
		Protocols:   new(http.Protocols),
		ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: maxBuffer, MaxReceiveBufferPerStream: maxBuffer,
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: writeTimeout,
		},
		BaseContext: func(net.Listener) context.Context { return s.stopping },
		ErrorLog:    slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	s.http.Protocols.SetHTTP2(true)
	s.Handle("GET "+PathRequest,
		Answer(func(context.Context) (CertificateRequest, error) { return cfg.Identity.Request() }))
	s.Handle("PUT "+PathCertificate, Take(maxBundle, s.install))
	s.Handle("GET "+PathState, Answer(func(context.Context) (State, error) { return s.State(), nil }))
	s.Handle("GET "+PathWatch, http.HandlerFunc(s.watch))
	return s
}

// Handle has the server answer what matches the pattern, such as PUT /v1/desired.
// It is to be called before anything is served.
func (s *Server) Handle(pattern string, h http.Handler) {
	s.mux.Handle(pattern, h)
}

// answer lets the operator's requests through. A connection may be open for
// long: who is at its other end is judged anew each time.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	if err := s.cfg.Identity.VerifyOperator(r.TLS); err != nil {
		s.refuse(r.RemoteAddr, err)
		w.Header().Set("Connection", "close") // ends the connection, and not this request alone
		writeProblem(w, http.StatusForbidden, "you are not the operator any more: connect anew")
		return
	}
	s.mux.ServeHTTP(w, r)
}

// install takes a certificate.
func (s *Server) install(_ context.Context, c *Certificate) (State, error) {
	if err := s.cfg.Identity.Install(*c); err != nil {
		return State{}, AsInvalid(err)
	}
	s.cfg.Logger.Info("Enrolled", "until", s.cfg.Identity.NotAfter().UTC().Format(time.RFC3339))
	s.Touch()
	return s.State(), nil
}

// Touch has watchers look at the state anew.
func (s *Server) Touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// State returns what the pod knows about itself.
func (s *Server) State() State {
	var out State
	if s.cfg.State != nil {
		out = s.cfg.State()
	}
	out.Versions, out.PodUID, out.Boot, out.Build = [2]int{Version, Version}, s.cfg.Identity.UID(), s.boot, s.cfg.Build
	out.CertificateNotAfter = 0
	if end := s.cfg.Identity.NotAfter(); !end.IsZero() {
		out.CertificateNotAfter = end.Unix()
	}
	return out
}

// Refused returns how many connections were not the operator's.
func (s *Server) Refused() uint64 { return s.refused.Load() }

// refuse counts and, at a bounded rate, tells of a connection that is not the
// operator's.
func (s *Server) refuse(peer string, err error) {
	n := s.refused.Add(1)
	last, now := s.toldAt.Load(), time.Now().UnixNano()
	if now-last < int64(quiet) || !s.toldAt.CompareAndSwap(last, now) {
		return
	}
	s.cfg.Logger.Warn("Control connection refused", "peer", peer, "error", err, "refusedInAll", n)
}

// Serve lets the operator in at a listener until Close.
func (s *Server) Serve(l net.Listener) error {
	a := newAnteroom(l, s.cfg.Identity.ServerConfig(), &s.guests,
		func(peer net.Addr, err error) { s.refuse(peer.String(), err) })
	s.mu.Lock()
	s.anterooms = append(s.anterooms, a)
	s.serving.Add(1)
	s.mu.Unlock()
	defer s.serving.Done()
	defer func() { _ = a.Close() }()
	if s.stopping.Err() != nil {
		return nil
	}
	if err := s.http.Serve(a); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Close ends all connections and returns when nothing of the server runs any more.
func (s *Server) Close() {
	s.stop()
	s.mu.Lock()
	anterooms := s.anterooms
	s.mu.Unlock()
	_ = s.http.Close()
	for _, a := range anterooms {
		_ = a.Close()
	}
	s.guests.clear()
	s.serving.Wait()
}

// Run serves, once a CA is trusted, at the listeners that listen returns. Until
// then the port stays shut, and what keeps it shut is tried again and again:
// whoever serves beside it must not depend on that. It returns when ctx ends.
func (s *Server) Run(ctx context.Context, listen func(context.Context) ([]net.Listener, error)) {
	listeners := s.open(ctx, listen)
	var wg sync.WaitGroup
	for _, l := range listeners {
		wg.Go(func() {
			if err := s.Serve(l); err != nil {
				s.cfg.Logger.Error("Control port lost", "address", l.Addr().String(), "error", err)
			}
		})
	}
	<-ctx.Done()
	s.Close()
	wg.Wait()
}

// open waits until there is somebody to trust, and listens.
func (s *Server) open(ctx context.Context, listen func(context.Context) ([]net.Listener, error)) []net.Listener {
	const leastPause, mostPause = time.Second, 15 * time.Second
	told := ""
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		_, err := s.cfg.Identity.roots()
		if err == nil {
			var listeners []net.Listener
			if listeners, err = listen(ctx); err == nil {
				return listeners
			}
		}
		if why := err.Error(); why != told && ctx.Err() == nil {
			told = why
			s.cfg.Logger.Warn("Control port shut, the operator cannot connect", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}
