// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/memkeep/memkeep/test/bench/load"
	"github.com/memkeep/memkeep/test/bench/subject"
)

// runner goes through the rounds.
type runner struct {
	o      *options
	log    io.Writer
	report *report
	began  time.Time
}

// measure runs everything that o asks for.
func measure(ctx context.Context, o *options, log io.Writer) (*report, error) {
	if err := pinProcess(o.layout.Generator, o.nice); err != nil {
		return nil, err
	}
	runtime.GOMAXPROCS(len(o.layout.Generator) + 2) // drivers may keep theirs while they wait
	if o.nice != 0 {
		if err := subject.NiceGroup(os.Getpid(), o.nice); err != nil {
			return nil, err
		}
		defer func() { _ = subject.NiceGroup(os.Getpid(), 0) }()
	}
	r := &runner{o: o, log: log, report: newReport(ctx, o), began: time.Now()}
	chosen := choose(groups(o.keys), o.wanted, o.quick)
	for _, g := range chosen {
		for _, s := range g.scenarios {
			r.report.add(s)
		}
	}
	if err := prepare(chosen); err != nil {
		return nil, err
	}
	for round := range o.rounds {
		for _, g := range chosen {
			if err := r.group(ctx, &g, round); err != nil {
				return r.report, err
			}
		}
	}
	if err := r.extras(ctx); err != nil {
		return r.report, err
	}
	r.report.Seconds = time.Since(r.began).Seconds()
	return r.report, nil
}

// prepare makes the draws once, not in every round.
func prepare(chosen []group) error {
	for i := range chosen {
		for j := range chosen[i].scenarios {
			s := &chosen[i].scenarios[j]
			if err := s.work.Prepare(); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

func (r *runner) say(format string, args ...any) {
	fmt.Fprintf(r.log, "%6.0fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

func (r *runner) serverOptions(memoryMiB, connections int) subject.Options {
	return subject.Options{
		Threads: r.o.threads, MemoryMiB: memoryMiB, Connections: connections, CPUs: r.o.layout.Servers, Nice: r.o.nice,
		Realtime: r.o.realtime,
	}
}

// start runs all programs with the same options.
func (r *runner) start(
	ctx context.Context, memoryMiB, connections int,
) (servers []*subject.Server, stop func(), err error) {
	stop = func() {
		for _, s := range servers {
			if err := s.Stop(); err != nil {
				r.say("%v", err)
			}
		}
	}
	for _, p := range r.o.programs {
		s, err := subject.Start(ctx, p, r.serverOptions(memoryMiB, connections))
		if err != nil {
			stop()
			return nil, nil, err
		}
		servers = append(servers, s)
	}
	return servers, stop, nil
}

// group starts fresh servers, fills them, and runs the group's scenarios against each in turn.
func (r *runner) group(ctx context.Context, g *group, round int) error {
	servers, stop, err := r.start(ctx, g.memoryMiB, commonConnections)
	if err != nil {
		return err
	}
	defer stop()
	for _, server := range servers {
		if g.preload == nil {
			continue
		}
		if err := r.fill(ctx, server, g.preload); err != nil {
			return fmt.Errorf("fill %s: %w", server.Name, err)
		}
	}
	for i := range g.scenarios {
		turns := slices.Clone(servers)
		if round%2 == 1 {
			slices.Reverse(turns)
		}
		for _, server := range turns {
			if err := r.scenario(ctx, &g.scenarios[i], server, round); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *runner) fill(ctx context.Context, server *subject.Server, w *load.Workload) error {
	result, err := load.Run(ctx, server.Addr, w, load.Spell{CPUs: r.o.layout.Generator[:1]})
	if err != nil {
		return err
	}
	if result.Sets != uint64(w.Keys) {
		return fmt.Errorf("%d of %d items were stored", result.Sets, w.Keys)
	}
	return nil
}

// scenario measures one load on one server. A wrong reply is noted; an error means that the run is over.
func (r *runner) scenario(ctx context.Context, s *scenario, server *subject.Server, round int) error {
	w := s.work
	if s.open {
		most := r.report.saturation()
		if most == 0 {
			most = r.probe(ctx, server)
		}
		w.Rate = openShare * most
	}
	spell := load.Spell{
		Warmup: r.o.warmup, Measure: s.span(r.o.unit), CPUs: r.o.layout.Generator, ServerCPU: server.CPU,
		Realtime: r.o.realtime,
	}
	if s.resize {
		spell.Meanwhile = func(ctx context.Context) error { return resize(ctx, server, w.Keys, spell.Measure) }
	}
	result, err := load.Run(ctx, server.Addr, &w, spell)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil && result.Requests == 0 {
		err = errors.New("not one request was answered")
	}
	if err != nil {
		r.say("round %d, %s, %s: %v", round+1, s.name, server.Name, err)
		r.report.fail(s.name, server.Name, err)
		return nil
	}
	m := measurementOf(result, round)
	m.Rate = w.Rate
	r.report.record(s.name, server.Name, m)
	r.say("round %d, %-12s %-10s %7.2f µs/key %9.0f keys/s  p50 %6.0f  p99 %6.0f  p99.9 %7.0f µs  generator %.2f µs",
		round+1, s.name, server.Name, m.CPU, m.Throughput, m.P50, m.P99, m.P999, m.Generator)
	return nil
}

// probe measures what a server does at most, where the scenario that tells was not chosen. Its failure shows in the
// scenario that follows.
func (r *runner) probe(ctx context.Context, server *subject.Server) float64 {
	w := common(r.o.keys, func(w *load.Workload) { w.MustHit = false })
	spell := load.Spell{Warmup: r.o.warmup, Measure: r.o.unit, CPUs: r.o.layout.Generator, Realtime: r.o.realtime}
	result, err := load.Run(ctx, server.Addr, &w, spell)
	if err != nil {
		return 1
	}
	most := float64(result.Requests) / result.Elapsed.Seconds()
	r.report.Saturation = append(r.report.Saturation, most)
	return most
}

// leastLimit is the lowest limit that memcached takes, in MiB.
const leastLimit = 8

// resize lowers the memory limit in steps well below what is stored, and lifts it again.
func resize(ctx context.Context, server *subject.Server, keys int, span time.Duration) error {
	percent := []int{85, 75, 65, 55, 45, 0, 75, 40, 0} // of what is stored; 0 lifts the limit
	ticker := time.NewTicker(span / time.Duration(len(percent)+1))
	defer ticker.Stop()
	const itemBytes = 192 // about what memcached takes for one
	for _, share := range percent {
		limit := max(keys*itemBytes*share/100>>20, leastLimit)
		if share == 0 {
			limit = smallMemory
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		reply, err := server.Ask(context.WithoutCancel(ctx), fmt.Sprintf("cache_memlimit %d\r\n", limit), "\r\n")
		if err != nil {
			return err
		}
		if reply != "OK\r\n" {
			return fmt.Errorf("cache_memlimit %d is answered by %q", limit, reply)
		}
	}
	return nil
}
