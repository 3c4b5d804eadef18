// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/memkeep/memkeep/test/bench/load"
	"github.com/memkeep/memkeep/test/bench/subject"
)

// extra is a figure that is not measured by loads in rounds.
type extra struct {
	Name     string               `json:"name"`
	About    string               `json:"about"`
	Unit     string               `json:"unit"`
	Target   float64              `json:"target,omitempty"`
	Values   map[string][]float64 `json:"values"` // by server, one a round
	Figures  map[string]spread    `json:"figures"`
	Ratios   map[string]spread    `json:"ratios"`
	Failures []string             `json:"failures,omitempty"`
}

// extraOf returns the extra of that name, and makes it where there is none.
func (r *report) extraOf(e extra) *extra {
	for _, known := range r.Extras {
		if known.Name == e.Name {
			return known
		}
	}
	e.Values = map[string][]float64{}
	r.Extras = append(r.Extras, &e)
	return &e
}

func (e *extra) put(server string, value float64) {
	e.Values[server] = append(e.Values[server], value)
}

func (e *extra) summarise() {
	e.Figures, e.Ratios = map[string]spread{}, map[string]spread{}
	base := rounds(e.Values[reference])
	for name, values := range e.Values {
		e.Figures[name] = spreadOf(values)
		if name != reference {
			e.Ratios[name] = spreadOf(ratios(rounds(values), base))
		}
	}
}

func rounds(values []float64) map[int]float64 {
	out := make(map[int]float64, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

// inTurns measures one figure of all programs, in rounds of alternating order.
func (r *runner) inTurns(ctx context.Context, count int, measure func(context.Context, subject.Program) error) error {
	for round := range count {
		programs := slices.Clone(r.o.programs)
		if round%2 == 1 {
			slices.Reverse(programs)
		}
		for _, p := range programs {
			if err := measure(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
		}
	}
	return nil
}

// extras measures what needs no load in rounds.
func (r *runner) extras(ctx context.Context) error {
	if r.o.wanted.MatchString("idle") {
		count := min(r.o.rounds, maxIdleRounds)
		if r.o.quick {
			count = 1
		}
		if err := r.inTurns(ctx, count, r.idle); err != nil {
			return err
		}
	}
	if r.o.wanted.MatchString("syscalls") && r.o.strace != "" {
		if err := r.inTurns(ctx, 1, r.systemCalls); err != nil {
			return err
		}
	}
	if r.o.wanted.MatchString("items") && r.o.density != "" && !r.o.quick {
		if err := r.items(ctx); err != nil {
			return err
		}
	}
	if r.o.wanted.MatchString("misses") && r.o.hitratio != "" && !r.o.quick {
		return r.misses(ctx)
	}
	return nil
}

// systemCalls counts what a server asks of the kernel for one request.
func (r *runner) systemCalls(ctx context.Context, p subject.Program) error {
	server, err := subject.Start(ctx, p, r.serverOptions(smallMemory, commonConnections))
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop() }()
	if err := r.fill(ctx, server, preload(r.o.keys, 100)); err != nil {
		return err
	}
	for _, s := range closedLoops(r.o.keys) {
		if s.target == 0 {
			continue
		}
		all := r.report.extraOf(extra{
			Name: "syscalls " + s.name, About: "all system calls per request, " + s.about, Unit: "calls",
		})
		network := r.report.extraOf(extra{
			Name: "network calls " + s.name, About: "those on sockets and epoll per request, " + s.about, Unit: "calls",
		})
		calls, requests, err := r.trace(ctx, server, s.work)
		if err != nil {
			all.Failures = append(all.Failures, server.Name+": "+err.Error())
			continue
		}
		all.put(server.Name, float64(calls.All)/requests)
		network.put(server.Name, float64(calls.Network)/requests)
		r.say("system calls, %-12s %-10s %5.2f a request, %5.2f of them on sockets and epoll",
			s.name, server.Name, float64(calls.All)/requests, float64(calls.Network)/requests)
	}
	return ctx.Err()
}

// trace runs a short load under strace, which slows a server down but does not change what it does for a request.
func (r *runner) trace(ctx context.Context, server *subject.Server, w load.Workload) (subject.Calls, float64, error) {
	tracing, err := server.Trace(ctx, r.o.strace)
	if err != nil {
		return subject.Calls{}, 0, err
	}
	result, err := load.Run(ctx, server.Addr, &w, load.Spell{Measure: r.o.unit, CPUs: r.o.layout.Generator[:1]})
	calls, stopped := tracing.Stop()
	if err := errors.Join(err, stopped); err != nil {
		return calls, 0, err
	}
	return calls, float64(max(result.Total, 1)), nil
}

// writeExtras prints the extras for people.
func (r *report) writeExtras(w io.Writer) {
	if len(r.Extras) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tserver\tmedian [least-most]\tunit\tratio\ttarget")
	for _, e := range r.Extras {
		for _, name := range r.order {
			s, there := e.Figures[name]
			if !there {
				continue
			}
			verdict := ""
			if name == ours && e.Target > 0 {
				verdict = verdictOn(e.Ratios[name], e.Target, "")
			}
			fmt.Fprintf(t, "%s\t%s\t%.2f [%.2f-%.2f]\t%s\t%s\t%s\n",
				e.Name, name, s.Median, s.Least, s.Most, e.Unit, ratioText(e.Ratios[name]), verdict)
		}
	}
	_ = t.Flush()
	for _, e := range r.Extras {
		for _, failure := range e.Failures {
			fmt.Fprintf(w, "FAILED %s: %s\n", e.Name, failure)
		}
	}
}
