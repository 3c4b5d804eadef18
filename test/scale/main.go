// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command scale measures what the operator costs at 1, 100 and 1,000 fleets of
// three: the manager's own binary as a process of its own, against a real API
// server with Kubernetes' own controllers and scheduler, and kubelets that kwok
// plays. Nothing listens in these pods, so that verification is Disabled.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	root, manager string
	sizes         []int
	rest          time.Duration
	settle        time.Duration
}

func main() {
	o := options{}
	sizes := ""
	flag.StringVar(&o.root, "root", ".", "the top of the repository")
	flag.StringVar(&o.manager, "manager", "bin/manager", "the operator's binary")
	flag.StringVar(&sizes, "fleets", "1,100,1000", "numbers of fleets of three to measure at")
	flag.DurationVar(&o.rest, "rest", time.Minute, "how long the operator is watched at rest")
	flag.DurationVar(&o.settle, "settle", 15*time.Second, "how long it is left alone before that")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, sizes, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, sizes string, out io.Writer) (err error) {
	for word := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 || len(o.sizes) > 0 && n <= o.sizes[len(o.sizes)-1] {
			return fmt.Errorf("-fleets %q: write rising numbers, such as 1,100,1000", sizes)
		}
		o.sizes = append(o.sizes, n)
	}
	w, err := newWorld(ctx, o)
	if err != nil {
		return err
	}
	defer w.close()
	started := time.Now()
	var rows []row
	for _, n := range o.sizes {
		r, err := w.measure(ctx, n)
		if err != nil {
			return fmt.Errorf("at %d fleets: %w", n, err)
		}
		rows = append(rows, r)
	}
	write(out, started, rows)
	return nil
}
