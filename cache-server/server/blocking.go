// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// A connection that has no descriptor of its own, such as one with TLS, is a goroutine that waits in Read.

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		s: s, nc: nc, remote: addressOfConn(nc), id: s.nextID.Add(1), since: time.Now().Unix(), suffix: firstSuffix,
	}
	c.lastCommand.Store(s.engine.Now())
	return c
}

// admitConn starts a connection or refuses it. Without a descriptor there is no waiting in the lobby.
func (s *Server) admitConn(nc net.Conn) {
	if s.cfg.RefuseOwnAddress && sameAddress(nc) {
		s.refuseConn(nc, reasonOwnAddress)
		return
	}
	c := newConn(s, nc)
	if reason := s.enter(c.remote, func() { s.conns[c] = struct{}{} }); reason != "" {
		if reason == reasonLocked {
			reason = s.lockedOut(c.remote)
		}
		s.refuseConn(nc, reason)
		return
	}
	s.logConn(c, true)
	go c.serve()
}

// refuseConn closes a connection that was not started.
func (s *Server) refuseConn(nc net.Conn, reason string) {
	s.refusals[reason].Add(1)
	s.log.Debug("Connection refused", "reason", reason, "peer", nc.RemoteAddr().String())
	if reason == reasonTooMany {
		_ = nc.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = nc.Write([]byte(protocol.ReplyTooManyConns))
	}
	_ = nc.Close()
}

// forget ends the bookkeeping of a connection.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	if _, ok := s.conns[c]; ok {
		delete(s.conns, c)
		s.open--
	}
	s.mu.Unlock()
	s.running.Done()
}

// serve runs the connection until it ends.
func (c *conn) serve() {
	defer c.s.forget(c)
	defer func() {
		c.s.logConn(c, false)
		_ = c.nc.Close()
		c.giveUp()
	}()
	defer func() {
		if p := recover(); p != nil {
			c.panicked()
		}
	}()
	for c.awaitInput() {
		c.left = c.share()
		proceed := c.execute()
		if c.ws == nil || !c.flush() || !proceed || !c.keep() {
			return
		}
	}
}

// awaitInput waits until there is more input. False means that there will be none.
func (c *conn) awaitInput() bool {
	if c.s.draining.Load() && !c.mayReadOn() {
		return false
	}
	idle := c.s.cfg.IdleTimeout
	if idle > 0 && !c.hurried {
		_ = c.nc.SetReadDeadline(time.Now().Add(idle))
		c.wakeIfDraining()
	}
	n, err := c.receive()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.dropWorkspace()
		switch {
		case c.s.draining.Load():
			return c.receiveLast()
		case idle > 0 && !c.hurried:
			c.s.idleKicks.Add(1)
			c.closing(reasonIdle)
		default:
			c.closing(reasonSlowWriter)
		}
		return false
	}
	return n > 0 && err == nil
}

// receive reads once into a workspace. n is 0 at the end of the stream.
func (c *conn) receive() (n int, err error) {
	c.ws = takeWorkspace()
	c.takeInput()
	n, err = c.nc.Read(c.ws.in[len(c.ws.in):cap(c.ws.in)])
	if n > 0 {
		c.received(n)
		return n, nil
	}
	return n, err
}

// mayReadOn decides whether a draining connection may read once more: it may while a request is incomplete,
// and while there may be more than the last read could take.
func (c *conn) mayReadOn() bool {
	return len(c.rest) > 0 || c.skip > 0 || !c.begun || c.lastRead == c.roomRead
}

// receiveLast reads what has arrived before the drain began, and the rest of a request that has been read in
// part, as long as Drain waits.
func (c *conn) receiveLast() bool {
	deadline := time.Now().Add(lastCall)
	if len(c.rest) > 0 || c.skip > 0 {
		deadline = time.Time{} // Drain closes the connection when its time is up
	}
	_ = c.nc.SetReadDeadline(deadline)
	n, err := c.receive()
	c.wake()
	return n > 0 && err == nil
}

// hurrySocket sets or lifts the deadline for the rest of a long request.
func (c *conn) hurrySocket() {
	if !c.hurried {
		c.clearReadDeadline()
		return
	}
	_ = c.nc.SetReadDeadline(c.hurryBy)
	c.wakeIfDraining()
}

// wake makes a connection that waits for input notice that the server drains.
func (c *conn) wake() {
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}

func (c *conn) wakeIfDraining() {
	if c.s.draining.Load() {
		c.wake()
	}
}

// clearReadDeadline undoes a deadline, but not that of a drain.
func (c *conn) clearReadDeadline() {
	_ = c.nc.SetReadDeadline(time.Time{})
	c.wakeIfDraining()
}

// sameAddress is ownAddress for a connection without a descriptor.
func sameAddress(nc net.Conn) bool {
	local, ok1 := nc.LocalAddr().(*net.TCPAddr)
	remote, ok2 := nc.RemoteAddr().(*net.TCPAddr)
	return ok1 && ok2 && isOwn(remote.AddrPort().Addr().Unmap(), local.AddrPort().Addr().Unmap())
}
