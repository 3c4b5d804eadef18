// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// flush sends the gathered replies and returns when the kernel has them all. False means that the connection
// is lost. Where it has to wait for the client, the connection leaves its loop.
func (c *conn) flush() bool {
	if c.broken {
		return false // what follows a reply that was cut must not be taken for the rest of it
	}
	ws := c.ws
	var ok bool
	if ws.held.Size() > 0 {
		ok = c.sendHeld()
	} else {
		ok = c.sendOut()
	}
	ws.out = ws.output[:0]
	if c.outHeld != 0 {
		c.s.transfer.give(c.outHeld)
		c.outHeld = 0
	}
	c.broken = !ok
	return ok
}

// sendOut sends the gathered replies.
func (c *conn) sendOut() bool {
	out := c.ws.out
	c.ws.tally[bytesWritten] += uint64(len(out))
	c.publish() // before the client can know
	if len(out) == 0 {
		return true
	}
	c.left -= flushWork
	n, err := c.writeNow(out)
	if err != nil {
		return false
	}
	return n == len(out) || c.writeSlowly([][]byte{out[n:]})
}

// writeNow writes what the kernel takes at once.
func (c *conn) writeNow(out []byte) (n int, err error) {
	if c.l == nil {
		return 0, nil
	}
	n, errno := sendNow(c.fd, out)
	if errno != 0 && errno != syscall.EAGAIN {
		return 0, errno
	}
	return n, nil
}

// writeSlowly waits for a client that does not read as fast as it asks. Meanwhile its buffers count against
// the budget, and where that is spent the client is cut off: those who read must not suffer from those who
// do not.
func (c *conn) writeSlowly(pieces [][]byte) bool {
	if c.outHeld == 0 { // else it was counted with the large reply
		if !c.s.transfer.try(largeShare) {
			c.closing(reasonSlowReader)
			return false
		}
		defer c.s.transfer.give(largeShare)
	}
	if c.onLoop() {
		c.leaveWith(0)
	}
	left := 0
	for _, piece := range pieces {
		left += len(piece)
	}
	err := c.writeBy(pieces, time.Now().Add(c.patience(left)))
	if isTimeout(err) {
		c.closing(reasonSlowReader)
	}
	return err == nil
}

// writeBy writes all pieces unless a point in time comes first. The connection is not on its loop.
func (c *conn) writeBy(pieces [][]byte, deadline time.Time) error {
	if c.l == nil {
		if err := c.nc.SetWriteDeadline(deadline); err != nil {
			return err
		}
		buffers := net.Buffers(pieces)
		if _, err := buffers.WriteTo(c.nc); err != nil {
			return err
		}
		return c.nc.SetWriteDeadline(time.Time{})
	}
	for len(pieces) > 0 {
		n, errno := sendPieces(c.fd, pieces)
		pieces = behind(pieces, n)
		switch errno {
		case 0:
		case syscall.EAGAIN:
			if err := c.await(unix.EPOLLOUT, deadline); err != nil {
				return err
			}
		default:
			return errno
		}
	}
	return nil
}

// readBlock reads more of a large value into buf, which has room. n is 0 with EAGAIN where the connection is
// on its loop and has to leave it before it can wait.
func (c *conn) readBlock(buf []byte, deadline time.Time) (n int, err error) {
	if c.l == nil {
		return c.nc.Read(buf)
	}
	for {
		n, errno := receiveNow(c.fd, buf)
		switch {
		case n > 0:
			return n, nil
		case errno == 0:
			return 0, io.EOF
		case errno != syscall.EAGAIN || c.onLoop():
			return 0, errno
		}
		if err := c.await(unix.EPOLLIN, deadline); err != nil {
			return 0, err
		}
	}
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	netErr, ok := errors.AsType[net.Error](err)
	return ok && netErr.Timeout()
}

// hungUp tells whether the client has closed the connection. What it sends meanwhile is thrown away.
func (c *conn) hungUp() bool {
	var scratch [512]byte
	if c.l == nil {
		_ = c.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := c.nc.Read(scratch[:])
		return err != nil && !isTimeout(err)
	}
	n, errno := receiveNow(c.fd, scratch[:])
	return n == 0 && errno != syscall.EAGAIN
}
