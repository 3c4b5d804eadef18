// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// socketName is an address as stats conns shows it: tcp:<address>:<port>, or unix:<path>.
func socketName(addr unix.Sockaddr, err error) string {
	if err != nil {
		return ""
	}
	switch addr := addr.(type) {
	case *unix.SockaddrInet4:
		return "tcp:" + netip.AddrPortFrom(netip.AddrFrom4(addr.Addr), uint16(addr.Port)).String()
	case *unix.SockaddrInet6:
		return "tcp:" + netip.AddrPortFrom(netip.AddrFrom16(addr.Addr), uint16(addr.Port)).String()
	case *unix.SockaddrUnix:
		return "unix:" + addr.Name
	default:
		return ""
	}
}

// peerName is the address at the other end of a socket, for the log.
func peerName(fd int) string {
	return socketName(unix.Getpeername(fd))
}
