// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command hitratio replays traces against Debian's memcached and this project's cache server, both given as much
// resident memory, and counts what misses.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/test/bench/subject"
)

const usage = `hitratio: misses on a trace at equal memory, memcached's and ours.

  go build -o bin/cache-server ./cache-server && hack/debs.sh memcached
  go run ./test/bench/hitratio [flags] [TRACE...]

TRACE is FORMAT:PATH, or the name of a generated trace; without one all generated traces are replayed. Each
request is a get, and a set where that misses. memcached runs with -m, and its VmRSS at the end of the trace is what
the cache server must need as well: its own -m is moved until it does, within one in a hundred, if that takes no
more than four runs (the column RSS says how near it came). The engine in process then gets the same budget as the
cache server. --copies makes small traces large: each request is made once in so many sets of objects.

Generated traces (half a million requests each, from a fixed seed):
%s
Formats, unpacked on the way where PATH ends in .gz:
%s
Flags:
`

type options struct {
	binary  string
	limit   int64
	threads int
	copies  int
	size    int
	json    bool
}

// result is what one trace gave.
type result struct {
	Trace     string  `json:"trace"`
	Requests  int     `json:"requests"`
	Objects   int     `json:"objects"`
	Limit     int64   `json:"memcachedMebibytes"`
	OurLimit  int64   `json:"memkeepMebibytes"`
	TheirRSS  int64   `json:"memcachedRSSBytes"`
	OurRSS    int64   `json:"memkeepRSSBytes"`
	Theirs    int     `json:"memcachedMisses"`
	Ours      int     `json:"memkeepMisses"`
	InProcess int     `json:"engineMisses"`
	Evictions int64   `json:"memcachedEvictions"`
	Ratio     float64 `json:"ratio"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "hitratio:", err)
		os.Exit(1)
	}
}

func printUsage(flags *pflag.FlagSet) {
	var traces, formats strings.Builder
	for _, g := range generated {
		fmt.Fprintf(&traces, "  %-8s %s\n", g.name, g.help)
	}
	for _, name := range slices.Sorted(maps.Keys(readers)) {
		fmt.Fprintf(&formats, "  %-8s %s\n", name, readers[name].help)
	}
	fmt.Fprintf(os.Stderr, usage+"%s", traces.String(), formats.String(), flags.FlagUsages())
}

func run() error {
	var o options
	flags := pflag.NewFlagSet("hitratio", pflag.ExitOnError)
	flags.StringVar(&o.binary, "binary", "bin/cache-server", "this project's cache server")
	flags.Int64VarP(&o.limit, "limit", "m", 64, "memcached's limit in MiB")
	flags.IntVarP(&o.threads, "threads", "t", 2, "threads of both servers")
	flags.IntVar(&o.copies, "copies", 4, "how often each request is made, each time for other objects")
	flags.IntVar(&o.size, "value", 273, "size of the values in bytes where the trace does not tell")
	flags.BoolVar(&o.json, "json", false, "print JSON, one object a line, instead of a table")
	flags.Usage = func() { printUsage(flags) }
	if err := flags.Parse(os.Args[1:]); err != nil {
		return fmt.Errorf("read flags: %w", err)
	}
	if o.copies < 1 || o.copies > 0xfff || o.size < 1 || o.size > maxObjectSize {
		return fmt.Errorf("copies lie between 1 and %d, values between 1 and %d bytes", 0xfff, maxObjectSize)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	traces := flags.Args()
	if len(traces) == 0 {
		for _, g := range generated {
			traces = append(traces, g.name)
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	if !o.json {
		fmt.Fprintln(table, "trace\trequests\tobjects\t-m\tour -m\tRSS\tmemcached misses\tmemkeep misses\t"+
			"engine misses\tratio\t")
	}
	for _, trace := range traces {
		r, err := o.compare(ctx, trace)
		if err != nil {
			return fmt.Errorf("%s: %w", trace, err)
		}
		if o.json {
			if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
				return fmt.Errorf("print: %w", err)
			}
			continue
		}
		percent := func(misses int) float64 { return 100 * float64(misses) / float64(r.Requests) }
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%.3f\t%.2f%%\t%.2f%%\t%.2f%%\t%.3f\t\n", r.Trace, r.Requests, r.Objects,
			r.Limit, r.OurLimit, float64(r.OurRSS)/float64(r.TheirRSS), percent(r.Theirs), percent(r.Ours),
			percent(r.InProcess), r.Ratio)
	}
	return table.Flush()
}

// load finds a trace by its name, or by its format and path.
func load(trace string) (name string, reqs []request, err error) {
	if reqs = generate(trace); reqs != nil {
		return trace, reqs, nil
	}
	format, path, ok := strings.Cut(trace, ":")
	if !ok {
		return "", nil, fmt.Errorf("neither a generated trace nor FORMAT:PATH")
	}
	reqs, err = readTrace(path, format)
	return filepath.Base(path), reqs, err
}

func (o *options) compare(ctx context.Context, trace string) (*result, error) {
	name, reqs, err := load(trace)
	if err != nil {
		return nil, err
	}
	w := &workload{reqs: reqs, copies: o.copies, size: o.size}
	r := &result{Trace: name, Requests: w.requests(), Objects: w.objects(), Limit: o.limit}
	memcached, err := subject.Memcached()
	if err != nil {
		return nil, err
	}
	if r.Theirs, r.TheirRSS, r.Evictions, err = o.replayOn(ctx, w, memcached, o.limit); err != nil {
		return nil, err
	}
	if r.Evictions == 0 {
		return nil, fmt.Errorf("all of it fits memcached's %d MiB: give less with -m or more with --copies", o.limit)
	}
	if err := o.matchOurs(ctx, w, r); err != nil {
		return nil, err
	}
	e, err := engine.New(engine.Config{MaxBytes: r.OurLimit << 20, MaxItemSize: 1 << 20})
	if err != nil {
		return nil, fmt.Errorf("make the engine: %w", err)
	}
	if r.InProcess, err = w.replay(ctx, &inProcess{e: e}); err != nil {
		return nil, err
	}
	r.Ratio = float64(r.Ours) / float64(r.Theirs)
	return r, e.Close()
}

// matchOurs replays the trace on our server with the limit that makes it need as much memory as memcached.
func (o *options) matchOurs(ctx context.Context, w *workload, r *result) error {
	r.OurLimit = o.limit
	for range 4 {
		var err error
		if r.Ours, r.OurRSS, _, err = o.replayOn(ctx, w, subject.Ours(o.binary), r.OurLimit); err != nil {
			return err
		}
		// To the nearest MiB.
		off := (r.TheirRSS - r.OurRSS + (1 << 19)) >> 20
		if next := max(2, r.OurLimit+off); off != 0 && max(off, -off)*100 > r.TheirRSS>>20 && next != r.OurLimit {
			r.OurLimit = next
			continue
		}
		break
	}
	return nil
}

// replayOn replays a trace on a fresh server with a limit in MiB.
func (o *options) replayOn(
	ctx context.Context, w *workload, p subject.Program, limit int64,
) (misses int, rss, evictions int64, err error) {
	s, err := subject.Start(ctx, p, subject.Options{Threads: o.threads, MemoryMiB: int(limit), Connections: 1024})
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	c, err := subject.Dial(ctx, s)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { _ = c.Close() }()
	if misses, err = w.replay(ctx, overSocket{c}); err != nil {
		return 0, 0, 0, fmt.Errorf("%s: %w", s.Name, err)
	}
	stats, err := c.Stats()
	if err != nil {
		return 0, 0, 0, fmt.Errorf("%s: %w", s.Name, err)
	}
	rss, err = s.RSS()
	return misses, rss, stats["evictions"], err
}
