// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxStrangers is how many connections may be in their handshake, and
	// maxGuests how many may be open after it. There is one operator; the rest is
	// for its successor, while connections of the one before are still dying.
	maxStrangers = 16
	maxGuests    = 8
	// handshakeTimeout bounds a handshake.
	handshakeTimeout = 5 * time.Second
)

// anteroom is a listener that lets through only connections whose handshake is
// done. Strangers cannot crowd out the operator: where there are too many, the
// one that is there for longest has to go, and a handshake takes milliseconds.
type anteroom struct {
	net.Listener
	config    *tls.Config
	refused   func(net.Addr, error)
	strangers crowd
	guests    *crowd // of all listeners of a server
	through   chan net.Conn
	closed    chan struct{}
	once      sync.Once
	work      sync.WaitGroup
}

func newAnteroom(l net.Listener, config *tls.Config, guests *crowd, refused func(net.Addr, error)) *anteroom {
	a := &anteroom{
		Listener: l, config: config, refused: refused, guests: guests,
		strangers: crowd{most: maxStrangers}, through: make(chan net.Conn), closed: make(chan struct{}),
	}
	a.work.Go(a.admit)
	return a
}

// Accept returns the next connection whose handshake is done.
func (a *anteroom) Accept() (net.Conn, error) {
	select {
	case c := <-a.through:
		return c, nil
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

// Close stops accepting and breaks handshakes. It returns when their goroutines
// have ended.
func (a *anteroom) Close() error {
	var err error
	a.once.Do(func() {
		close(a.closed)
		err = a.Listener.Close()
		a.strangers.clear()
	})
	a.work.Wait()
	return err
}

func (a *anteroom) admit() {
	const leastPause, mostPause = 5 * time.Millisecond, time.Second
	pause := leastPause
	for {
		raw, err := a.Listener.Accept()
		if err == nil {
			pause = leastPause
			leave := a.strangers.enter(raw)
			a.work.Go(func() {
				defer leave()
				a.greet(raw)
			})
			continue
		}
		// Most of the time there are no file descriptors left.
		select {
		case <-a.closed:
			return
		case <-time.After(pause):
			pause = min(2*pause, mostPause)
		}
	}
}

// greet makes the handshake with one connection.
func (a *anteroom) greet(raw net.Conn) {
	c := &guest{Conn: raw, crowd: a.guests}
	//nolint:forbidigo // A connection has no caller.
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	secured := tls.Server(c, a.config)
	if err := secured.HandshakeContext(ctx); err != nil {
		a.refused(raw.RemoteAddr(), err)
		_ = raw.Close()
		return
	}
	c.leave.Store(a.guests.enter(raw))
	select {
	case a.through <- secured:
	case <-a.closed:
		_ = secured.Close()
	}
}

// guest is a connection that leaves its crowd when it is closed.
type guest struct {
	net.Conn
	crowd *crowd
	leave atomic.Value // func()
}

// Close closes the connection and counts it out.
func (g *guest) Close() error {
	if leave, ok := g.leave.Load().(func()); ok {
		leave()
	}
	return g.Conn.Close()
}

// crowd bounds how many connections there are.
type crowd struct {
	most int

	mu    sync.Mutex
	conns []net.Conn // in the order in which they came
	shut  bool
}

// enter counts a connection in, and closes the oldest where there are too many.
// What it returns counts the connection out.
func (c *crowd) enter(conn net.Conn) (leave func()) {
	c.mu.Lock()
	var evicted net.Conn
	switch {
	case c.shut:
		evicted = conn
	default:
		if len(c.conns) >= c.most {
			evicted = c.conns[0]
			c.conns = slices.Delete(c.conns, 0, 1)
		}
		c.conns = append(c.conns, conn)
	}
	c.mu.Unlock()
	if evicted != nil {
		_ = evicted.Close()
	}
	return func() { c.leave(conn) }
}

func (c *crowd) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.conns, conn); i >= 0 {
		c.conns = slices.Delete(c.conns, i, i+1)
	}
}

// clear closes all, and whoever comes later.
func (c *crowd) clear() {
	c.mu.Lock()
	conns := c.conns
	c.conns, c.shut = nil, true
	c.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
	}
}
