// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command density measures what an item costs in resident memory, in Debian's memcached and in this project's
// cache server, started with the same -m and -t and filled over a socket until they evict.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"github.com/memkeep/memkeep/test/bench/subject"
)

const usage = `density: bytes of RSS per stored item, memcached's and ours.

  go build -o bin/cache-server ./cache-server && hack/debs.sh memcached
  go run ./test/bench/density [flags]

Both servers run on loopback with the same -m and -t. They are filled with keys of 20 bytes and values of one
size, until a quarter as many items as they hold were evicted; then VmRSS is divided by curr_items. It takes about
as long as writing three times the limit for each size.

Flags:
`

// goals are the ratios that the project has set itself, by the size of the value.
var goals = map[int]float64{10: 0.75, 100: 0.75, 273: 0.8, 4096: 0.95}

type options struct {
	binary  string
	limits  []int64
	sizes   []int
	threads int
	json    bool
}

// figure is what one server needs for items of one size.
type figure struct {
	RSS     int64   `json:"rssBytes"`
	Items   int64   `json:"items"`
	PerItem float64 `json:"bytesPerItem"`
}

// result compares the two.
type result struct {
	Limit     int64   `json:"limitMebibytes"`
	Value     int     `json:"valueBytes"`
	Memcached figure  `json:"memcached"`
	Ours      figure  `json:"memkeep"`
	Ratio     float64 `json:"ratio"`
	Goal      float64 `json:"goal,omitempty"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "density:", err)
		os.Exit(1)
	}
}

func run() error {
	var o options
	flags := pflag.NewFlagSet("density", pflag.ExitOnError)
	flags.StringVar(&o.binary, "binary", "bin/cache-server", "this project's cache server")
	flags.Int64SliceVarP(&o.limits, "limit", "m", []int64{256, 1024}, "limits of both servers in MiB")
	flags.IntSliceVar(&o.sizes, "values", []int{10, 100, 273, 4096}, "sizes of the values in bytes")
	flags.IntVarP(&o.threads, "threads", "t", 2, "threads of both servers")
	flags.BoolVar(&o.json, "json", false, "print JSON, one object a line, instead of a table")
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage, flags.FlagUsages()) }
	if err := flags.Parse(os.Args[1:]); err != nil {
		return fmt.Errorf("read flags: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	if !o.json {
		fmt.Fprintln(table, "-m\tvalue\tmemcached B/item\tmemkeep B/item\tratio\tgoal\t")
	}
	for _, limit := range o.limits {
		for _, size := range o.sizes {
			r, err := o.compare(ctx, limit, size)
			if err != nil {
				return fmt.Errorf("-m %d, values of %d bytes: %w", limit, size, err)
			}
			if o.json {
				if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
					return fmt.Errorf("print: %w", err)
				}
				continue
			}
			goal := "-"
			if r.Goal != 0 {
				goal = fmt.Sprintf("%.2f", r.Goal)
			}
			fmt.Fprintf(table, "%d\t%d\t%.1f\t%.1f\t%.3f\t%s\t\n",
				limit, size, r.Memcached.PerItem, r.Ours.PerItem, r.Ratio, goal)
		}
	}
	return table.Flush()
}

func (o *options) compare(ctx context.Context, limit int64, size int) (result, error) {
	r := result{Limit: limit, Value: size, Goal: goals[size]}
	memcached, err := subject.Memcached()
	if err != nil {
		return r, err
	}
	if r.Memcached, err = o.measure(ctx, memcached, limit, size); err != nil {
		return r, err
	}
	if r.Ours, err = o.measure(ctx, subject.Ours(o.binary), limit, size); err != nil {
		return r, err
	}
	r.Ratio = r.Ours.PerItem / r.Memcached.PerItem
	return r, nil
}

// measure fills a fresh server.
func (o *options) measure(ctx context.Context, p subject.Program, limit int64, size int) (figure, error) {
	s, err := subject.Start(ctx, p, subject.Options{Threads: o.threads, MemoryMiB: int(limit), Connections: 1024})
	if err != nil {
		return figure{}, err
	}
	f, err := fill(ctx, s, limit, size)
	return f, errors.Join(err, s.Stop())
}

// fill writes items until a quarter as many as are held were evicted, and measures then.
func fill(ctx context.Context, s *subject.Server, limit int64, size int) (figure, error) {
	c, err := subject.Dial(ctx, s)
	if err != nil {
		return figure{}, err
	}
	defer func() { _ = c.Close() }()
	value := []byte(strings.Repeat("v", size))
	var key []byte
	batch := max(1, (1<<20)/(size+50))
	// No server holds more than the bare bytes of keys and values.
	most := 3 * int(limit<<20) / (size + 20)
	for n := 0; n < most; {
		for range batch {
			key = fmt.Appendf(key[:0], "key:%016x", n)
			n++
			if err := c.Set(key, value); err != nil {
				return figure{}, fmt.Errorf("%s: %w", s.Name, err)
			}
		}
		if err := c.Sync(); err != nil {
			return figure{}, fmt.Errorf("%s: %w", s.Name, err)
		}
		if err := ctx.Err(); err != nil {
			return figure{}, err
		}
		stats, err := c.Stats()
		if err != nil {
			return figure{}, fmt.Errorf("%s: %w", s.Name, err)
		}
		if items := stats["curr_items"]; items > 0 && stats["evictions"] > items/4 {
			rss, err := s.RSS()
			if err != nil {
				return figure{}, err
			}
			return figure{RSS: rss, Items: items, PerItem: float64(rss) / float64(items)}, nil
		}
	}
	return figure{}, fmt.Errorf("%s holds all of %d items", s.Name, most)
}
