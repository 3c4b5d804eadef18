// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// conn is one connection to the server. Its buffers are as large as they will ever be from the start.
type conn struct {
	fd      int
	in      []byte // replies that were read and not looked at are in[from:to]
	from    int
	to      int
	out     []byte // requests that are not written yet are out[sent:]
	sent    int
	wantOut bool // epoll tells when there is room to write
	dirty   bool // requests were added since the last write

	expect []expectation // a ring; its size is a power of two
	first  uint          // number of the first reply that is awaited
	last   uint          // number of the one after the last
	under  int           // how many requests are under way
}

const inRoom = 64 << 10

// ringSize is the first power of two that n entries fit in.
func ringSize(n int) int {
	size := 1
	for size < n {
		size *= 2
	}
	return size
}

// dial connects without delay and then never waits again.
func dial(addr unix.Sockaddr, w *Workload, depth int) (*conn, error) {
	family := unix.AF_INET
	switch addr.(type) {
	case *unix.SockaddrInet6:
		family = unix.AF_INET6
	case *unix.SockaddrUnix:
		family = unix.AF_UNIX
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	if err := connect(fd, addr); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	request := (KeyLen+32)*max(w.Batch, 1) + 64
	if w.ReadPercent < 100 || w.Sequential {
		request += w.ValueSize
	}
	return &conn{
		fd:     fd,
		in:     make([]byte, inRoom+w.ValueSize),
		out:    make([]byte, 0, depth*request),
		expect: make([]expectation, ringSize(depth*w.perRequest())),
	}, nil
}

func connect(fd int, addr unix.Sockaddr) error {
	for {
		err := unix.Connect(fd, addr)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		break
	}
	if _, local := addr.(*unix.SockaddrUnix); !local {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return fmt.Errorf("set TCP_NODELAY: %w", err)
		}
	}
	return unix.SetNonblock(fd, true)
}

// push notes a reply that has to come.
func (c *conn) push(e expectation) {
	c.expect[c.last&uint(len(c.expect)-1)] = e
	c.last++
}

// room tells whether n more replies can be awaited.
func (c *conn) room(n int) bool {
	return int(c.last-c.first)+n <= len(c.expect)
}

// write sends what it can. False means that the socket is full.
func (c *conn) write() (bool, error) {
	for c.sent < len(c.out) {
		n, err := rawWrite(c.fd, c.out[c.sent:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			c.compact()
			return false, nil
		case err != nil:
			return false, fmt.Errorf("write: %w", err)
		}
		c.sent += n
	}
	c.out, c.sent = c.out[:0], 0
	return true, nil
}

// compact makes room behind what is not written yet.
func (c *conn) compact() {
	n := copy(c.out, c.out[c.sent:])
	c.out, c.sent = c.out[:n], 0
}

// read takes what has come. False means that there was nothing.
func (c *conn) read() (bool, error) {
	if c.from > 0 {
		c.to = copy(c.in, c.in[c.from:c.to])
		c.from = 0
	}
	for {
		n, err := rawRead(c.fd, c.in[c.to:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("read: %w", err)
		case n == 0:
			return false, fmt.Errorf("read: %w with %d replies missing", io.ErrUnexpectedEOF, c.last-c.first)
		}
		c.to += n
		return true, nil
	}
}
