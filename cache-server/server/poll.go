// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of the event loops go to the kernel without telling Go's scheduler, which is what a call costs
// most. That is right for calls that never wait, and these do not: the sockets are non-blocking.

// epollNow returns what is ready, without waiting.
func epollNow(epfd int, events []unix.EpollEvent) int {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd),
			uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		if errno == 0 {
			return int(n)
		}
		if errno != unix.EINTR {
			return 0
		}
	}
}

// epollSet adds a descriptor to an epoll descriptor, or changes what it is watched for.
func epollSet(epfd, op, fd int, events uint32, token int32) error {
	ev := unix.EpollEvent{Events: events, Fd: token}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&ev)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// receiveNow reads what a socket has, without waiting: EAGAIN means that it has nothing, and 0 that it never
// will again.
func receiveNow(fd int, buf []byte) (int, syscall.Errno) {
	if len(buf) == 0 {
		return 0, unix.EINVAL
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
			uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// peekNow is receiveNow for who leaves what is there where it is.
func peekNow(fd int, buf []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
			uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), unix.MSG_DONTWAIT|unix.MSG_PEEK, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// maxPieces is how many pieces sendPieces takes.
const maxPieces = 16

// sendPieces writes what a socket takes of several pieces, without waiting.
func sendPieces(fd int, pieces [][]byte) (int, syscall.Errno) {
	var vec [maxPieces]unix.Iovec
	n := 0
	for _, piece := range pieces {
		if len(piece) > 0 && n < maxPieces {
			vec[n].Base = unsafe.SliceData(piece)
			vec[n].SetLen(len(piece))
			n++
		}
	}
	msg := unix.Msghdr{Iov: &vec[0]}
	msg.SetIovlen(n)
	for {
		sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0, 0)
		if errno == 0 {
			return int(sent), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// sendNow writes what a socket takes, without waiting: EAGAIN means nothing.
func sendNow(fd int, buf []byte) (int, syscall.Errno) {
	if len(buf) == 0 {
		return 0, 0
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}
