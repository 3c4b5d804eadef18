// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

const (
	// acceptsPerTurn is how many connections are accepted before others have their turn.
	acceptsPerTurn = 32
	leastBackoff   = 5 * time.Millisecond
	mostBackoff    = time.Second
)

// door is a listener that a loop accepts from.
type door struct {
	fd      int
	token   int32 // what the loop knows it by
	local   bool  // a UNIX socket
	backoff time.Duration
	reopen  time.Time
	shut    chan struct{} // closed once nothing is accepted any more
}

// newDoor takes a descriptor of its own for a listener. Nil means that there is none to have.
func newDoor(l net.Listener) (*door, error) {
	sc, ok := l.(syscall.Conn)
	if !ok {
		return nil, nil //nolint:nilnil // such listeners are served otherwise
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &door{fd: -1, shut: make(chan struct{})}
	_, d.local = l.(*net.UnixListener)
	var setErr, dupErr error
	err = raw.Control(func(fd uintptr) {
		if !d.local {
			setErr = setOptions(int(fd))
		}
		d.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err := errors.Join(err, dupErr); err != nil {
		return nil, err
	}
	if setErr != nil {
		_ = unix.Close(d.fd)
		return nil, setErr
	}
	return d, nil
}

// addDoor gives the loop a listener to accept from.
func (l *loop) addDoor(d *door) {
	l.mu.Lock()
	stopped := l.wakefd < 0
	if !stopped {
		l.newDoors = append(l.newDoors, d)
	}
	l.mu.Unlock()
	if stopped {
		l.shut(d)
		return
	}
	l.call()
}

// serveBlocking accepts from a listener that has no descriptor.
func (s *Server) serveBlocking(l net.Listener) error {
	backoff := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err == nil {
			backoff = 0
			s.admitConn(nc)
			continue
		}
		if s.draining.Load() || errors.Is(err, net.ErrClosed) {
			return nil
		}
		backoff = s.acceptFailed(err, backoff)
		time.Sleep(backoff)
	}
}

// open begins to accept.
func (l *loop) open(d *door) {
	d.token = doorToken - int32(len(l.doors))
	l.doors = append(l.doors, d)
	if l.stage >= stageDraining {
		l.shut(d)
		return
	}
	l.watch(d)
}

func (l *loop) watch(d *door) {
	if err := epollSet(l.epfd, unix.EPOLL_CTL_ADD, d.fd, unix.EPOLLIN, d.token); err != nil {
		l.postpone(d, err)
	}
}

// shut ends a listener.
func (l *loop) shut(d *door) {
	if d.fd >= 0 {
		_ = unix.Close(d.fd)
		d.fd = -1
		close(d.shut)
	}
}

// accept takes in what waits at a listener, up to a bound.
func (l *loop) accept(i int) {
	d := l.doors[i]
	for range acceptsPerTurn {
		if d.fd < 0 {
			return
		}
		fd, peer, err := unix.Accept4(d.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			d.backoff = 0
			l.s.admit(fd, peer, d.local)
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EPROTO):
		default:
			l.postpone(d, err)
			return
		}
	}
}

// postpone stops accepting for a while: there are no file descriptors left, most of the time. Those who are
// connected go on.
func (l *loop) postpone(d *door, err error) {
	_ = epollSet(l.epfd, unix.EPOLL_CTL_DEL, d.fd, 0, 0)
	d.backoff = l.s.acceptFailed(err, d.backoff)
	d.reopen = time.Now().Add(d.backoff)
	l.wakeBy(d.reopen)
}

// acceptFailed notes that accepting failed and returns how long to wait after it.
func (s *Server) acceptFailed(err error, last time.Duration) time.Duration {
	s.acceptErrs.Add(1)
	backoff := min(max(2*last, leastBackoff), mostBackoff)
	s.log.Warn("Accept failed", "error", err, "retryIn", backoff.String())
	s.disabledUs.Add(uint64(backoff.Microseconds()))
	return backoff
}

// admit gives a connection to the next loop in turn, or refuses it.
func (s *Server) admit(fd int, peer unix.Sockaddr, local bool) {
	if s.cfg.RefuseOwnAddress && ownAddress(fd, peer) {
		s.refuse(fd, reasonOwnAddress)
		return
	}
	s.start(guest{fd: fd, remote: addressOf(peer), local: local})
}

// start gives a connection to the next loop in turn, has it wait in the lobby, or refuses it.
func (s *Server) start(g guest) {
	reason := s.enter(g.remote, func() {
		s.nextLoop++
		s.loops[s.nextLoop%len(s.loops)].adopt(g)
	})
	if reason == reasonLocked {
		reason = s.lobby.hold(g)
	}
	if reason != "" {
		s.refuse(g.fd, reason)
	}
}

// enter counts a connection in and starts it, unless there is a reason not to.
func (s *Server) enter(remote address, start func()) (reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining.Load():
		return reasonDraining
	case !s.lock.Load().admits(remote):
		return reasonLocked
	case s.open+s.lobby.len() >= s.cfg.MaxConnections && !s.lobby.makeRoom():
		return reasonTooMany
	}
	s.open++
	s.running.Add(1)
	s.accepted.Add(1)
	start()
	return ""
}

// left counts a connection out.
func (s *Server) left() {
	s.mu.Lock()
	s.open--
	s.mu.Unlock()
	s.running.Done()
}

// adopt takes a connection in. It may be called from any goroutine.
func (l *loop) adopt(g guest) {
	c := l.slots.fill(func(c *conn) {
		*c = conn{
			s: l.s, l: l, fd: g.fd, remote: g.remote, local: g.local,
			id: l.s.nextID.Add(1), since: time.Now().Unix(), suffix: firstSuffix,
		}
		c.lastCommand.Store(l.s.engine.Now())
	})
	l.s.logConn(c, true)
	if err := epollSet(l.epfd, unix.EPOLL_CTL_ADD, g.fd, watched, c.place); err != nil {
		l.s.log.Warn("Connection closed, it cannot be watched", "error", err)
		c.ending = true
		c.away.Store(new(away))
		l.comeBack(c)
	}
}

// refuse closes a connection that was not started.
func (s *Server) refuse(fd int, reason string) {
	s.refusals[reason].Add(1)
	s.tellRarely(&s.refusedAt, "Connection refused", "reason", reason, "peer", peerName(fd))
	if reason == reasonTooMany {
		_, _ = sendNow(fd, []byte(protocol.ReplyTooManyConns))
	}
	_ = unix.Close(fd)
}

// ownAddress tells whether a TCP connection comes from the host, or pod, that it leads to.
func ownAddress(fd int, peer unix.Sockaddr) bool {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return true // whose is it then?
	}
	return isOwn(addressOf(peer).IP(), addressOf(local).IP())
}

// isOwn tells whether a peer is this host itself: by the same address, or by one that leads nowhere else. A socket
// bound to 127.0.0.1 reaches the pod's own address, and no other pod's.
func isOwn(remote, local netip.Addr) bool {
	switch {
	case remote == local:
		return true
	case remote.IsLoopback():
		return !local.IsLoopback()
	default:
		return remote.Is6() && remote.IsLinkLocalUnicast()
	}
}
