// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

const (
	// openDepth is how many requests an open loop lets be under way on one connection before it holds the next
	// ones back. Their time counts on.
	openDepth = 256
	// patience is how long the last replies may take once a run ends, and any reply in a closed loop.
	patience = 10 * time.Second
	// turn is how long a driver waits at most before it looks whether it is to stop.
	turn = 20 * time.Millisecond
	// spin is how near the next request must be for the driver to wait for it awake.
	spin = int64(30 * time.Microsecond)

	maxLatency = int64(time.Minute)
	digits     = 3
	maxEvents  = 256
)

// counters are written by a driver and read by whoever measures.
type counters struct {
	requests, keys, hits, misses, sets atomic.Uint64
	recording                          atomic.Bool
	stop                               atomic.Bool
}

// driver runs connections on one operating system thread.
type driver struct {
	w      *Workload
	codec  codec
	source *source
	conns  []*conn
	epfd   int
	events []unix.EpollEvent
	ids    []uint32 // scratch for gets of many keys
	base   time.Time
	rng    *rand.Rand
	// Open loop: when the next request is to leave, which connection takes it, how near it
	// must be to be waited for awake, and which connections have to write.
	next  int64
	taker int
	spin  int64

	realtime bool
	dirty    []*conn

	counters
	under     int  // requests under way
	exhausted bool // a sequential source is at its end
	heard     int64
	latency   *hdrhistogram.Histogram
	late      *hdrhistogram.Histogram // how long after its time an open loop's request left
	cpu       atomic.Int64
}

func newDriver(w *Workload, addr unix.Sockaddr, index, of int) (*driver, error) {
	c, err := newCodec(w.Protocol, w.ValueSize)
	if err != nil {
		return nil, err
	}
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	d := &driver{
		w: w, codec: c, source: newSource(w, index, of), epfd: epfd, base: time.Now(),
		events: make([]unix.EpollEvent, maxEvents), ids: make([]uint32, max(w.Batch, 1)),
		rng:     rand.New(rand.NewPCG(w.Seed, uint64(index)+101)),
		latency: hdrhistogram.New(1, maxLatency, digits), late: hdrhistogram.New(1, maxLatency, digits),
	}
	depth := w.Depth
	if w.Rate > 0 {
		depth = openDepth
	}
	for i := index; i < w.Connections; i += of {
		if err := d.connect(addr, depth); err != nil {
			d.close()
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
	}
	d.dirty = make([]*conn, 0, len(d.conns))
	return d, nil
}

func (d *driver) connect(addr unix.Sockaddr, depth int) error {
	c, err := dial(addr, d.w, depth)
	if err != nil {
		return err
	}
	d.conns = append(d.conns, c)
	return d.register(c, unix.EPOLL_CTL_ADD)
}

func (d *driver) register(c *conn, op int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(d.index(c))}
	if c.wantOut {
		event.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(d.epfd, op, c.fd, &event); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// index is c's place among the connections. It is looked up only when a socket is full, which is rare.
func (d *driver) index(c *conn) int {
	for i := len(d.conns) - 1; i >= 0; i-- {
		if d.conns[i] == c {
			return i
		}
	}
	return -1
}

func (d *driver) close() {
	for _, c := range d.conns {
		_ = unix.Close(c.fd)
	}
	_ = unix.Close(d.epfd)
}

func (d *driver) now() int64 { return int64(time.Since(d.base)) }

// run works until it is told to stop, the source is at its end, or something is wrong.
func (d *driver) run(cpu int, realtime bool) error {
	runtime.LockOSThread() // and never unlock: a pinned thread ends with its work
	if err := pinThread(cpu); err != nil {
		return err
	}
	d.spin, d.realtime = spin, realtime
	if realtime {
		d.spin = 0 // a thread that comes before all else has to leave them the time that it only waits
		if err := Realtime(); err != nil {
			return err
		}
	}
	d.heard = d.now()
	d.next = d.heard
	if d.w.Rate == 0 {
		for _, c := range d.conns {
			if err := d.batch(c, d.heard); err != nil {
				return err
			}
		}
	}
	for {
		ending := d.stop.Load() || d.exhausted
		if ending && d.under == 0 {
			return nil
		}
		if err := d.step(ending); err != nil {
			return err
		}
		if d.under == 0 {
			d.heard = d.now()
		} else if d.now()-d.heard > int64(patience) {
			return fmt.Errorf("%d requests are without a reply after %s", d.under, patience)
		}
	}
}

// step sends what is due, waits for replies and looks at them.
func (d *driver) step(ending bool) error {
	wait := int64(turn)
	if d.w.Rate > 0 && !ending {
		var err error
		if wait, err = d.depart(); err != nil {
			return err
		}
	}
	n, err := epollWait(d.epfd, d.events, wait, d.realtime)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	d.cpu.Store(threadCPU())
	for _, event := range d.events[:n] {
		c := d.conns[event.Fd]
		if event.Events&unix.EPOLLOUT != 0 && c.wantOut {
			if err := d.flush(c); err != nil {
				return err
			}
		}
		if event.Events&^unix.EPOLLOUT == 0 {
			continue
		}
		if err := d.hear(c); err != nil {
			return err
		}
		if d.w.Rate == 0 && c.under == 0 && !ending {
			if err := d.batch(c, d.now()); err != nil {
				return err
			}
		}
	}
	return nil
}

// depart adds the requests whose time has come, and says how long it is until the next.
func (d *driver) depart() (wait int64, err error) {
	now := d.now()
	record := d.recording.Load()
	for held := 0; d.next <= now && held < len(d.conns); {
		c := d.conns[d.taker]
		if d.taker++; d.taker == len(d.conns) {
			d.taker = 0
		}
		if !c.room(d.w.perRequest()) {
			held++
			continue
		}
		if !d.request(c, d.next) {
			break
		}
		held = 0
		if record {
			_ = d.late.RecordValue(now - d.next)
		}
		if !c.dirty {
			c.dirty = true
			d.dirty = append(d.dirty, c)
		}
		d.next += int64(d.rng.ExpFloat64() * float64(time.Second) / d.w.Rate)
	}
	for _, c := range d.dirty {
		c.dirty = false
		if err := d.flush(c); err != nil {
			return 0, err
		}
	}
	d.dirty = d.dirty[:0]
	wait = d.next - d.now()
	if wait <= d.spin {
		return 0, nil
	}
	return min(wait-d.spin, int64(turn)), nil
}

// batch sends the next requests of a closed loop.
func (d *driver) batch(c *conn, at int64) error {
	for range d.w.Depth {
		if !d.request(c, at) {
			break
		}
	}
	return d.flush(c)
}

// request adds one request to c's output. False means that there is none left.
func (d *driver) request(c *conn, at int64) bool {
	id, write, ok := d.source.take()
	switch {
	case !ok:
		d.exhausted = true
		return false
	case write:
		c.out = d.codec.set(c.out, id)
		c.push(expectation{at: at, id: id, kind: kindSet})
	case d.w.Batch <= 1:
		c.out = d.codec.get(c.out, id)
		c.push(expectation{at: at, id: id, kind: kindGet})
	default:
		d.ids[0] = id
		for i := 1; i < len(d.ids); i++ {
			d.ids[i], _, _ = d.source.take()
		}
		c.out = d.codec.multiget(c.out, d.ids)
		for _, id := range d.ids {
			c.push(expectation{id: id, kind: kindKey})
		}
		c.push(expectation{at: at, kind: kindEnd})
	}
	c.under++
	d.under++
	return true
}

func (d *driver) flush(c *conn) error {
	all, err := c.write()
	if err != nil {
		return err
	}
	if all == c.wantOut {
		c.wantOut = !all
		return d.register(c, unix.EPOLL_CTL_MOD)
	}
	return nil
}

// errMiss is what a miss is where everything is known to be stored.
var errMiss = errors.New("an item that was stored and fits is not there")

// hear reads once and checks every reply that has come in full.
func (d *driver) hear(c *conn) error {
	some, err := c.read()
	if err != nil || !some {
		return err
	}
	now := d.now()
	d.heard = now
	t := tally{record: d.recording.Load(), now: now}
	for c.from < c.to {
		if c.first == c.last {
			return fmt.Errorf("%d bytes came that answer nothing: %q", c.to-c.from, excerpt(c.in[c.from:c.to]))
		}
		e := &c.expect[c.first&uint(len(c.expect)-1)]
		n, v := d.codec.check(c.in[c.from:c.to], e)
		if v == more {
			break
		}
		if v == wrong {
			return fmt.Errorf("a wrong reply: %q", excerpt(c.in[c.from:c.to]))
		}
		if v == miss && d.w.MustHit {
			return errMiss
		}
		c.from += n
		c.first++
		t.note(d, v, e)
	}
	t.flush(d)
	c.under -= int(t.requests)
	d.under -= int(t.requests)
	return nil
}

// excerpt is enough of a reply to see what it is.
func excerpt(b []byte) []byte {
	const most = 80
	return b[:min(len(b), most)]
}
