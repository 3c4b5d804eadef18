// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command dialer is the only content of the image that the demo and the
// end-to-end tests run as clients, strangers and decoys. It connects, talks and
// tells outcomes apart: a dropped connection is not a refused one.
//
// Exit codes: 0 connected or answered, 1 failed in another way, 2 usage,
// 10 timed out, 11 refused, 12 reset, 13 closed by the peer before it answered,
// 14 unreachable, 15 name not found, 16 connected but no answer in time.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/memkeep/memkeep/test/dialer/dialing"
)

const usage = `Usage: dialer COMMAND

  sleep                       stay alive until told to stop (the default)
  serve ADDR                  accept on ADDR and answer every line with its peer's address
  dial ADDR                   connect once       [--timeout 3s] [--json]
  talk ADDR [LINE...]         send the lines (or stdin's), show what comes back [--timeout 5s]
                              [--blank +: write + for blanks, where somebody splits at them]
                              [--from IP: send from that address; takes CAP_NET_RAW]
  hammer ADDR                 connect again and again, then print each change of outcome
                              [--for 30s] [--every 50ms] [--timeout 1s] [--stdin]
  fetch URL                   print what an HTTP GET returns  [--timeout 5s]
  udp ADDR LINE               send the line in a datagram [--timeout 1s]
  search NAME HEX             look for bytes in the memory of the processes of that name
  lookup NAME                 resolve a name     [--timeout 3s]
  version                     print what it was built with

Flags come right after the command. Exit codes: 0 connected or answered,
1 failed, 2 usage, 10 timed out, 11 refused, 12 reset, 13 closed by the peer,
14 unreachable, 15 name not found, 16 connected but no answer in time.
`

// errUsage is returned for a command line that makes no sense.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command and returns the process's exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	name := "sleep"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	commands := map[string]func(context.Context, []string, io.Reader, io.Writer) (dialing.Outcome, error){
		"sleep":  sleep,
		"serve":  serve,
		"dial":   dial,
		"talk":   talk,
		"hammer": hammer,
		"fetch":  fetch,
		"lookup": lookup,
		"udp":    udp,
		"search": search,
		"version": func(_ context.Context, _ []string, _ io.Reader, out io.Writer) (dialing.Outcome, error) {
			_, err := fmt.Fprintln(out, "dialer", runtime.Version())
			return dialing.Connected, err
		},
	}
	command, known := commands[name]
	if !known {
		fmt.Fprint(stderr, usage)
		if name == "help" || name == "--help" || name == "-h" {
			return 0
		}
		return dialing.ExitUsage
	}
	outcome, err := command(ctx, args, stdin, stdout)
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "dialer %s: %v\n%s", name, err, usage)
		return dialing.ExitUsage
	case err != nil:
		fmt.Fprintf(stderr, "dialer %s: %v\n", name, err)
		if outcome == dialing.Connected {
			return dialing.ExitFailed
		}
	}
	return outcome.ExitCode()
}

// sleep stays alive until the pod is stopped.
func sleep(ctx context.Context, _ []string, _ io.Reader, _ io.Writer) (dialing.Outcome, error) {
	<-ctx.Done()
	return dialing.Connected, nil
}
