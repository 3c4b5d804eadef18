// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// forge has a dialer send from an address that need not be the machine's own: a
// transparent socket may be bound to any (ip(7), IP_TRANSPARENT). It takes
// CAP_NET_RAW or CAP_NET_ADMIN. What is answered goes to the address's owner.
func forge(dialer *net.Dialer, source netip.Addr) {
	dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	dialer.Control = func(_, _ string, conn syscall.RawConn) error {
		level, option := unix.SOL_IP, unix.IP_TRANSPARENT
		if source.Is6() {
			level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
		}
		var failed error
		if err := conn.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), level, option, 1)
		}); err != nil {
			return fmt.Errorf("reach the socket: %w", err)
		}
		if failed != nil {
			return fmt.Errorf("send from %s: %w", source, failed)
		}
		return nil
	}
}
