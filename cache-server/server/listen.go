// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socketBuffer is what the kernel may hold for one connection in each direction, asked for on the listener
// and inherited by what it accepts. Without it the kernel lets a client that does not read fill megabytes.
const socketBuffer = 64 << 10

// Listen binds one TCP address: that very one, never a wildcard unless it is given.
func Listen(ctx context.Context, addr netip.AddrPort) (net.Listener, error) {
	network := "tcp4"
	if addr.Addr().Is6() {
		network = "tcp6" // IPv6 alone: tcp would bind IPv4 with it for the wildcard
	}
	config := net.ListenConfig{
		Control:         boundBuffers,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4},
	}
	l, err := config.Listen(ctx, network, addr.String())
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// ListenUnix binds a UNIX socket that its owner alone may use.
func ListenUnix(ctx context.Context, path string) (net.Listener, error) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}

func boundBuffers(_, _ string, raw syscall.RawConn) error {
	var optErr error
	err := raw.Control(func(fd uintptr) {
		for _, option := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
			if optErr == nil {
				optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, socketBuffer)
			}
		}
	})
	if err != nil {
		return err
	}
	return optErr
}
