// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poller is an epoll descriptor, parked in the Go runtime's poller while nothing happens, and a descriptor that
// wakes up who waits there.
type poller struct {
	epfd   int
	wakefd int
	file   *os.File // the epoll descriptor
	raw    syscall.RawConn
}

func newPoller() (poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return poller{}, err
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epfd)
		return poller{}, err
	}
	p := poller{epfd: epfd, wakefd: wakefd}
	err = errors.Join(unix.SetNonblock(epfd, true),
		epollSet(epfd, unix.EPOLL_CTL_ADD, wakefd, unix.EPOLLIN|unix.EPOLLET, wakeToken))
	if err == nil {
		p.file = os.NewFile(uintptr(epfd), "epoll")
		p.raw, err = p.file.SyscallConn()
	}
	if err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails if the runtime's poller does not take it
	}
	if err != nil {
		_ = unix.Close(wakefd)
		if p.file != nil {
			_ = p.file.Close()
		} else {
			_ = unix.Close(epfd)
		}
		return poller{}, err
	}
	return p, nil
}

// wake has who waits look. What guards the descriptors is the owner's.
func (p *poller) wake() {
	if p.wakefd >= 0 {
		one := [8]byte{1}
		_, _ = unix.Write(p.wakefd, one[:])
	}
}

func (p *poller) close() {
	_ = unix.Close(p.wakefd)
	p.wakefd = -1
	_ = p.file.Close()
}
