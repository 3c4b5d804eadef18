// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sendBuffer and receiveBuffer are what the kernel may hold for one connection, asked for on the listener and
// inherited by what it accepts. Without them the kernel lets a client that does not read fill megabytes. The
// kernel doubles them for its own bookkeeping. A send buffer that does not hold one segment of loopback, 64 KiB,
// would make each large reply wait for a delayed acknowledgement.
const (
	sendBuffer    = 40 << 10
	receiveBuffer = 16 << 10
)

// Listen binds one TCP address: that very one, never a wildcard unless it is given.
func Listen(ctx context.Context, addr netip.AddrPort) (net.Listener, error) {
	network := "tcp4"
	if addr.Addr().Is6() {
		network = "tcp6" // IPv6 alone: tcp would bind IPv4 with it for the wildcard
	}
	config := net.ListenConfig{Control: prepare}
	config.SetMultipathTCP(false) // no client asks for it, and it takes fewer socket options
	l, err := config.Listen(ctx, network, addr.String())
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// SetBacklog changes how many connections may wait to be accepted: to listen once more on a socket that listens
// does only that.
func SetBacklog(l net.Listener, backlog int) error {
	socket, ok := l.(syscall.Conn)
	if !ok {
		return syscall.ENOTSUP
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var listenErr error
	err = raw.Control(func(fd uintptr) { listenErr = unix.Listen(int(fd), backlog) })
	return errors.Join(err, listenErr)
}

// ListenUnix binds a UNIX socket with the given access, such as 0o700 for its owner alone.
func ListenUnix(ctx context.Context, path string, access uint32) (net.Listener, error) {
	old := unix.Umask(int(^access & 0o777))
	defer unix.Umask(old)
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}

// prepare sets the options of a listener before anybody can connect to it.
func prepare(_, _ string, raw syscall.RawConn) error {
	var optErr error
	err := raw.Control(func(fd uintptr) {
		optErr = errors.Join(setOptions(int(fd)),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer))
	})
	return errors.Join(err, optErr)
}

// setOptions sets what connections inherit from their listener: no delay for small replies, and an end for
// peers that are gone without a word, after two minutes. A listener of multipath TCP does not take them all.
func setOptions(fd int) error {
	for _, o := range []struct{ level, option, value int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 120_000},
	} {
		err := unix.SetsockoptInt(fd, o.level, o.option, o.value)
		if err != nil && !errors.Is(err, unix.ENOPROTOOPT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}
