// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// readNow reads once from a file descriptor and tells whether there was anything to find out.
func readNow(fd uintptr, buf []byte) (n int, ready bool, err error) {
	for {
		n, err = syscall.Read(int(fd), buf)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return 0, false, nil
		case err != nil:
			return 0, true, err
		default:
			return n, true, nil
		}
	}
}

// receive waits until the socket is readable, then takes a workspace with what was kept of the input and
// reads once. While it waits nothing is held but the kept input. n is 0 at the end of the stream.
func (c *conn) receive() (n int, err error) {
	if c.raw == nil {
		c.takeInput()
		n, err = c.nc.Read(c.ws.in[len(c.ws.in):cap(c.ws.in)])
		if n > 0 {
			err = nil
		}
	} else {
		var readErr error
		err = c.raw.Read(func(fd uintptr) bool {
			c.takeInput()
			var ready bool
			n, ready, readErr = readNow(fd, c.ws.in[len(c.ws.in):cap(c.ws.in)])
			if !ready {
				giveWorkspace(c.ws)
				c.ws = nil
			}
			return ready
		})
		if err == nil {
			err = readErr
		}
	}
	if n > 0 {
		c.lastRead, c.roomRead = n, cap(c.ws.in)-len(c.ws.in)
		c.ws.in = c.ws.in[:len(c.ws.in)+n]
		c.ws.tally[bytesRead] += uint64(n)
	}
	return n, err
}

// takeInput takes a workspace and puts what was kept of the input into it.
func (c *conn) takeInput() {
	c.ws = takeWorkspace()
	if len(c.rest) > bufferSize/2 {
		c.ws.in = c.rest // it has room: see keep
		return
	}
	c.ws.in = append(c.ws.in, c.rest...)
}

// flush sends the gathered replies and returns when the kernel has them all. False means that the connection
// is lost.
func (c *conn) flush() bool {
	ws := c.ws
	out := ws.out
	ok := true
	if len(out) > 0 {
		n, err := c.writeNow(out)
		ws.tally[bytesWritten] += uint64(n)
		switch {
		case err != nil:
			ok = false
		case n < len(out):
			ok = c.writeSlowly(out[n:])
		}
	}
	ws.out = ws.output[:0]
	c.s.transfer.give(c.outHeld)
	c.outHeld = 0
	return ok
}

// writeNow writes what the kernel takes at once.
func (c *conn) writeNow(out []byte) (n int, err error) {
	if c.raw == nil {
		return 0, nil
	}
	var writeErr error
	err = c.raw.Write(func(fd uintptr) bool {
		for {
			n, writeErr = syscall.Write(int(fd), out)
			if !errors.Is(writeErr, syscall.EINTR) {
				return true
			}
		}
	})
	if err == nil && !errors.Is(writeErr, syscall.EAGAIN) {
		err = writeErr
	}
	return max(n, 0), err
}

// writeSlowly waits for a client that does not read as fast as it asks. Meanwhile its buffers count against
// the budget, and where that is spent the client is cut off: those who read must not suffer from those who
// do not.
func (c *conn) writeSlowly(out []byte) bool {
	if c.outHeld == 0 { // else it was counted with the large reply
		if !c.s.transfer.try(workspaceSize) {
			c.closing(reasonSlowReader)
			return false
		}
		defer c.s.transfer.give(workspaceSize)
	}
	patience := c.patience(len(out))
	if err := c.nc.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return false
	}
	n, err := c.nc.Write(out)
	c.ws.tally[bytesWritten] += uint64(n)
	if err != nil {
		if isTimeout(err) {
			c.closing(reasonSlowReader)
		}
		return false
	}
	return c.nc.SetWriteDeadline(time.Time{}) == nil
}

// patience is how long the server waits until n bytes have moved.
func (c *conn) patience(n int) time.Duration {
	return c.s.cfg.Timeouts.Stall + time.Duration(n)*time.Second/slowestRate
}

// wake makes a connection that waits for input notice that the server drains.
func (c *conn) wake() {
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}

// clearReadDeadline undoes a deadline, but not that of a drain.
func (c *conn) clearReadDeadline() {
	_ = c.nc.SetReadDeadline(time.Time{})
	if c.s.draining.Load() {
		c.wake()
	}
}

func isTimeout(err error) bool {
	netErr, ok := errors.AsType[net.Error](err)
	return ok && netErr.Timeout()
}

// writeRefusal tells a client that there are too many, if that can be done without waiting.
func writeRefusal(nc net.Conn) {
	_ = nc.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = nc.Write([]byte(protocol.ReplyTooManyConns))
}

// rawConn gives access to the file descriptor, where there is one.
func rawConn(nc net.Conn) syscall.RawConn {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
