// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command cache-server is a memcached-compatible cache. In a fleet it binds the pod's addresses and nothing
// else; standalone it takes memcached's own flags and binds loopback unless told otherwise.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"
)

// version is set by the linker.
var version = "v0.0.0"

// protocolVersion is the memcached version whose protocol is spoken, in the form that clients parse.
const protocolVersion = "1.6.45"

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 64 // EX_USAGE, which memcached uses as well
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == debugName && (len(args) == 0 || args[0] != "fleet") {
		args = append([]string{"--test-hooks"}, args...)
	}
	code := run(ctx, args, os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	var plan *plan
	var err error
	if len(args) > 0 && args[0] == "fleet" {
		plan, err = planFleet(args[1:], getenv, stdout, stderr)
	} else {
		plan, err = planStandalone(ctx, args, stdout, stderr)
	}
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "cache-server: %v\n", err)
		return exitUsage
	}
	if plan.process.daemon && !isDaemon(getenv) {
		code, err := startDaemon(ctx, stderr)
		if err != nil {
			plan.log.Error("Not started", "error", err)
		}
		return code
	}
	if err := plan.run(ctx, getenv); err != nil {
		plan.log.Error("Stopped", "error", err)
		return exitFailed
	}
	return exitOK
}
