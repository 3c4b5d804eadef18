// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Spell says how long a workload runs and who is watched meanwhile.
type Spell struct {
	// Warmup runs before anything is counted.
	Warmup time.Duration
	// Measure is how long is counted. Where it is 0 the workload runs to the end of its sequence.
	Measure time.Duration
	// CPUs are the processors that the drivers are pinned to, one driver on each.
	CPUs []int
	// Realtime lets drivers run before all else on their processors. They then never wait awake.
	Realtime bool
	// ServerCPU returns the CPU time that the server has used so far.
	ServerCPU func() (time.Duration, error)
	// Meanwhile runs beside the load from the start of what is counted, and has to end when its context does.
	Meanwhile func(context.Context) error
}

// Result is what a spell measured.
type Result struct {
	Elapsed                            time.Duration
	Requests, Keys, Hits, Misses, Sets uint64
	Total                              uint64 // all requests of the spell, what was not measured included
	ServerCPU, GeneratorCPU            time.Duration
	Latency                            *hdrhistogram.Histogram // nanoseconds from the time at which requests were to leave
	Late                               *hdrhistogram.Histogram // nanoseconds by which an open loop's requests left late
}

// snapshot is the state of all counters at one moment.
type snapshot struct {
	at                                 time.Time
	requests, keys, hits, misses, sets uint64
	server, generator                  time.Duration
}

// Run connects to the server, makes the load, checks all replies and measures.
func Run(ctx context.Context, addr netip.AddrPort, w *Workload, s Spell) (*Result, error) {
	if err := w.Prepare(); err != nil {
		return nil, err
	}
	drivers, err := openDrivers(addr, w, s)
	if err != nil {
		return nil, err
	}
	// Collecting garbage would take the generator's processor: there is none to speak of.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := make(chan error, len(drivers))
	start := func() {
		for i, d := range drivers {
			go func() { ends <- d.run(s.CPUs[i], s.Realtime) }()
		}
	}
	r, err := measure(ctx, drivers, s, start, ends)
	for _, d := range drivers {
		d.stop.Store(true)
	}
	for range drivers {
		if e := <-ends; e != nil && !errors.Is(err, e) {
			err = errors.Join(err, e)
		}
	}
	for _, d := range drivers {
		if r != nil {
			r.Latency.Merge(d.latency)
			r.Late.Merge(d.late)
			r.Total += d.requests.Load()
		}
		d.close()
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func openDrivers(addr netip.AddrPort, w *Workload, s Spell) ([]*driver, error) {
	if len(s.CPUs) == 0 {
		return nil, errors.New("the load needs a processor")
	}
	of := min(len(s.CPUs), w.Connections)
	each := *w
	each.Rate /= float64(of)
	drivers := make([]*driver, 0, of)
	for i := range of {
		d, err := newDriver(&each, sockaddr(addr), i, of)
		if err != nil {
			for _, d := range drivers {
				d.close()
			}
			return nil, err
		}
		drivers = append(drivers, d)
	}
	return drivers, nil
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}

// measure waits for the warm-up, counts, and returns the difference. A driver's end puts its error back for Run.
func measure(ctx context.Context, drivers []*driver, s Spell, start func(), ends chan error) (*Result, error) {
	if s.Warmup > 0 {
		start()
		if err := pause(ctx, s.Warmup, ends, len(drivers)); err != nil {
			return nil, err
		}
	}
	for _, d := range drivers {
		d.recording.Store(true)
	}
	before, err := observe(drivers, s)
	if s.Warmup == 0 {
		start() // a short sequence must not begin before it is counted
	}
	if err != nil {
		return nil, err
	}
	beside, stop := context.WithCancel(ctx)
	defer stop()
	met := make(chan error, 1)
	go func() {
		if s.Meanwhile == nil {
			met <- nil
			return
		}
		met <- s.Meanwhile(beside)
	}()
	err = pause(ctx, s.Measure, ends, len(drivers))
	for _, d := range drivers {
		d.recording.Store(false)
	}
	after, observed := observe(drivers, s)
	stop()
	if err := errors.Join(err, observed, <-met); err != nil {
		return nil, err
	}
	return difference(before, after), nil
}

// pause lets the drivers work. Without a time it waits for all of them to end.
func pause(ctx context.Context, long time.Duration, ends chan error, drivers int) error {
	var over <-chan time.Time
	if long > 0 {
		timer := time.NewTimer(long)
		defer timer.Stop()
		over = timer.C
	}
	ended := make([]error, 0, drivers)
	defer func() {
		for _, err := range ended {
			ends <- err
		}
	}()
	for len(ended) < drivers {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			return nil
		case err := <-ends:
			ended = append(ended, err)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func observe(drivers []*driver, s Spell) (snapshot, error) {
	now := snapshot{at: time.Now()}
	if s.ServerCPU != nil {
		cpu, err := s.ServerCPU()
		if err != nil {
			return now, fmt.Errorf("read the server's CPU time: %w", err)
		}
		now.server = cpu
	}
	for _, d := range drivers {
		now.requests += d.requests.Load()
		now.keys += d.keys.Load()
		now.hits += d.hits.Load()
		now.misses += d.misses.Load()
		now.sets += d.sets.Load()
		now.generator += time.Duration(d.cpu.Load())
	}
	return now, nil
}

func difference(before, after snapshot) *Result {
	return &Result{
		Elapsed:  after.at.Sub(before.at),
		Requests: after.requests - before.requests,
		Keys:     after.keys - before.keys,
		Hits:     after.hits - before.hits,
		Misses:   after.misses - before.misses,
		Sets:     after.sets - before.sets,

		ServerCPU:    after.server - before.server,
		GeneratorCPU: after.generator - before.generator,
		Latency:      hdrhistogram.New(1, maxLatency, digits),
		Late:         hdrhistogram.New(1, maxLatency, digits),
	}
}
