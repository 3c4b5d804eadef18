// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench compares the cache server with memcached: CPU time, throughput, latency and memory under the same
// load, in turns, in one run. See docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run measures and returns the process's exit code: 0 when every reply was right, 1 when not, 2 for wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	if o.list {
		writeList(stdout)
		return 0
	}
	report, err := measure(ctx, o, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		if report == nil || ctx.Err() != nil {
			return 1
		}
	}
	if e := report.write(stdout, o.output); e != nil {
		fmt.Fprintln(stderr, "bench:", e)
		return 1
	}
	if err != nil || report.failed() {
		return 1
	}
	return 0
}
