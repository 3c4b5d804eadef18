// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"container/list"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

const (
	// lobbyTime is how long a connection is held that the lock does not admit: long enough for the operator to
	// learn of a pod that has just started.
	lobbyTime = 2 * time.Second
	// lobbyShare is the part of all connections that may be held.
	lobbyShare = 10
	// lobbySample is how many of those held are looked at for somebody who takes more than his share.
	lobbySample = 16
	// maxHeldTold bounds what Held returns.
	maxHeldTold = 1000
)

// guest is a connection that the kernel has completed and no loop has yet.
type guest struct {
	fd     int
	remote address
	local  bool // it came through a UNIX socket
}

// held is a guest that waits.
type held struct {
	guest
	until time.Time
	place *list.Element
}

// lobby holds connections that the lock does not admit: unread, but for one look, without taking it, at whether
// they begin with a probe's nonce. Who is admitted in time is served as if he had just come. All others are closed
// without a word. It is one goroutine, which begins with the first who has to wait.
type lobby struct {
	s *Server

	mu      sync.Mutex
	poller  poller
	running bool
	stopped bool
	guests  map[int32]*held // by descriptor
	queue   list.List       // of *held, who has to leave first at the front
	counts  map[address]int // how many of each address
	again   bool            // the lock has changed
}

// full is how many may be held.
func (y *lobby) full() int {
	return max(y.s.cfg.MaxConnections/lobbyShare, 1)
}

// len is how many are held.
func (y *lobby) len() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.guests)
}

// hold has a connection wait, or returns why it is to be refused.
func (y *lobby) hold(g guest) (reason string) {
	if y.s.glance(g) {
		return reasonProbe
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.stopped {
		return reasonDraining
	}
	if len(y.guests) >= y.full() && !y.displace(g.remote) {
		return reasonLobbyFull
	}
	if err := y.begin(); err != nil {
		y.s.log.Warn("Connection not held", "error", err)
		return reasonLobbyFull
	}
	h := &held{guest: g, until: time.Now().Add(lobbyTime)}
	if err := epollSet(y.poller.epfd, unix.EPOLL_CTL_ADD, g.fd, watched|unix.EPOLLET, int32(g.fd)); err != nil {
		y.s.log.Warn("Connection not held", "error", err)
		return reasonLobbyFull
	}
	h.place = y.queue.PushBack(h)
	y.guests[int32(g.fd)] = h
	y.counts[g.remote]++
	y.s.heldTotal.Add(1)
	if y.counts[g.remote] == 1 && !y.s.lock.Load().knows(g.remote) {
		y.s.changes.tell()
	}
	// The lock may have changed since it was asked, before there was anybody here to reconsider.
	y.again = y.again || y.s.lock.Load().admits(g.remote)
	if y.again || len(y.guests) == 1 {
		y.poller.wake()
	}
	return ""
}

// begin starts the goroutine.
func (y *lobby) begin() error {
	if y.running {
		return nil
	}
	p, err := newPoller()
	if err != nil {
		return fmt.Errorf("make a lobby: %w", err)
	}
	y.poller, y.running = p, true
	y.guests, y.counts = make(map[int32]*held), make(map[address]int)
	y.s.looping.Add(1)
	go y.run()
	return nil
}

// take removes a guest from the books.
func (y *lobby) take(h *held) {
	_ = epollSet(y.poller.epfd, unix.EPOLL_CTL_DEL, h.fd, 0, 0)
	delete(y.guests, int32(h.fd))
	y.queue.Remove(h.place)
	if y.counts[h.remote]--; y.counts[h.remote] == 0 {
		delete(y.counts, h.remote)
	}
}

// dismiss closes a guest without a word.
func (y *lobby) dismiss(h *held, reason string) {
	y.take(h)
	y.s.refuse(h.fd, reason)
}

// displace makes room for one more connection of an address by closing one of another that holds more than its
// share: of some taken at random, so that who holds most is found without a search.
func (y *lobby) displace(newcomer address) bool {
	var most *held
	n := 0
	for _, h := range y.guests {
		if most == nil || y.counts[h.remote] > y.counts[most.remote] {
			most = h
		}
		if n++; n == lobbySample {
			break
		}
	}
	if most == nil || y.counts[most.remote] <= y.counts[newcomer]+1 {
		return false
	}
	y.dismiss(most, reasonLobbyFull)
	return true
}

// makeRoom closes the guest who has waited longest for the sake of a client that is admitted.
func (y *lobby) makeRoom() bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	front := y.queue.Front()
	if front == nil {
		return false
	}
	y.dismiss(front.Value.(*held), reasonLobbyFull)
	return true
}

// reconsider has everybody compared with the lock once more.
func (y *lobby) reconsider() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.again = true
	if y.running && !y.stopped {
		y.poller.wake()
	}
}

// stop closes all that wait and ends the goroutine.
func (y *lobby) stop() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.stopped = true
	for _, h := range y.guests {
		y.dismiss(h, reasonDraining)
	}
	if y.running {
		y.poller.wake()
	}
}

// run waits for news of those who wait.
func (y *lobby) run() {
	defer y.s.looping.Done()
	var events [eventsPerRound]unix.EpollEvent
	n := 0
	poll := func(uintptr) bool {
		n = epollNow(y.poller.epfd, events[:])
		return n > 0
	}
	for {
		n = 0
		_ = y.poller.raw.Read(poll) // it ends with an event or at the deadline
		for i := range events[:n] {
			if events[i].Fd >= 0 {
				y.look(events[i].Fd, events[i].Events)
			}
		}
		admitted, stopped := y.round()
		for _, g := range admitted {
			y.s.start(g)
		}
		if stopped {
			return
		}
	}
}

// look closes a connection that has begun with a nonce, or that its client has given up.
func (y *lobby) look(fd int32, events uint32) {
	y.mu.Lock()
	defer y.mu.Unlock()
	h := y.guests[fd]
	switch {
	case h == nil:
	case y.s.glance(h.guest):
		y.dismiss(h, reasonProbe)
	case events&(unix.EPOLLHUP|unix.EPOLLERR) != 0, events&unix.EPOLLRDHUP != 0 && !arrived(h.fd):
		y.dismiss(h, y.s.lockedOut(h.remote))
	}
}

// lockedOut says why an address is not admitted.
func (s *Server) lockedOut(a address) string {
	if s.lock.Load().knows(a) {
		return reasonGateClosed
	}
	return reasonUnknownPeer
}

// round takes out who is admitted by now, closes whose time is up, and sets the deadline for the next.
func (y *lobby) round() (admitted []guest, stopped bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.stopped {
		y.poller.close()
		return nil, true
	}
	if y.again {
		y.again = false
		k := y.s.lock.Load()
		for _, h := range y.guests {
			if k.admits(h.remote) {
				y.take(h)
				admitted = append(admitted, h.guest)
			}
		}
	}
	now := time.Now()
	next := time.Time{}
	for front := y.queue.Front(); front != nil; front = y.queue.Front() {
		h := front.Value.(*held)
		if h.until.After(now) {
			next = h.until
			break
		}
		y.dismiss(h, y.s.lockedOut(h.remote))
	}
	_ = y.poller.file.SetReadDeadline(next)
	return admitted, false
}

// Held returns the addresses that wait because the peers in force have them not, in order; at most 1,000.
func (s *Server) Held() []netip.Addr {
	k := s.lock.Load()
	y := &s.lobby
	y.mu.Lock()
	defer y.mu.Unlock()
	var addrs []netip.Addr
	for a := range y.counts {
		if len(addrs) == maxHeldTold {
			break
		}
		if !k.knows(a) {
			addrs = append(addrs, a.IP())
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

// glance looks at what a connection begins with, without taking it, and notes a probe's nonce. True means that there
// was one.
func (s *Server) glance(g guest) bool {
	var buf [protocol.MaxProbeLine]byte
	n, errno := peekNow(g.fd, buf[:])
	if errno != 0 || n == 0 {
		return false
	}
	nonce, _ := protocol.FindProbe(buf[:n])
	if nonce == nil {
		return false
	}
	s.nonces.note(string(nonce))
	s.changes.tell()
	return true
}

// arrived tells whether there is something to read at a socket that is not at its end.
func arrived(fd int) bool {
	var buf [1]byte
	n, errno := peekNow(fd, buf[:])
	return n > 0 || errno == syscall.EAGAIN
}
