// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/memkeep/memkeep/test/dialer/dialing"
)

// flags returns a flag set that reports errors instead of exiting.
func flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}

// parse reads flags and checks how many arguments are left.
func parse(fs *flag.FlagSet, args []string, least, most int) error {
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if n := fs.NArg(); n < least || most >= 0 && n > most {
		return fmt.Errorf("%w: %d arguments", errUsage, n)
	}
	return nil
}

// connect dials once and says what came of it.
func connect(ctx context.Context, addr string, timeout time.Duration) (net.Conn, dialing.Report) {
	return connectBy(ctx, &net.Dialer{Timeout: timeout}, addr)
}

func connectBy(ctx context.Context, dialer *net.Dialer, addr string) (net.Conn, dialing.Report) {
	start := time.Now()
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	r := dialing.Report{Address: addr, Outcome: dialing.Classify(err), Millis: time.Since(start).Milliseconds()}
	if err != nil {
		r.Error = err.Error()
	}
	return conn, r
}

// dial connects once, says what happened and hangs up.
func dial(ctx context.Context, args []string, _ io.Reader, out io.Writer) (dialing.Outcome, error) {
	fs := flags("dial")
	timeout := fs.Duration("timeout", 3*time.Second, "")
	asJSON := fs.Bool("json", false, "")
	if err := parse(fs, args, 1, 1); err != nil {
		return dialing.Failed, err
	}
	conn, r := connect(ctx, fs.Arg(0), *timeout)
	if conn != nil {
		_ = conn.Close()
	}
	if *asJSON {
		return r.Outcome, json.NewEncoder(out).Encode(r)
	}
	_, err := fmt.Fprintf(out, "%s: %s after %d ms\n", r.Address, r.Outcome, r.Millis)
	return r.Outcome, err
}

// lookup resolves a name and prints its addresses.
func lookup(ctx context.Context, args []string, _ io.Reader, out io.Writer) (dialing.Outcome, error) {
	fs := flags("lookup")
	timeout := fs.Duration("timeout", 3*time.Second, "")
	if err := parse(fs, args, 1, 1); err != nil {
		return dialing.Failed, err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, fs.Arg(0))
	if err != nil {
		return dialing.Classify(err), err
	}
	_, err = fmt.Fprintln(out, strings.Join(addrs, "\n"))
	return dialing.Connected, err
}

// fetch prints what an HTTP GET returns.
func fetch(ctx context.Context, args []string, _ io.Reader, out io.Writer) (dialing.Outcome, error) {
	fs := flags("fetch")
	timeout := fs.Duration("timeout", 5*time.Second, "")
	if err := parse(fs, args, 1, 1); err != nil {
		return dialing.Failed, err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fs.Arg(0), nil)
	if err != nil {
		return dialing.Failed, fmt.Errorf("%w: %w", errUsage, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return dialing.Classify(err), err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(out, resp.Body); err != nil {
		return dialing.ClassifyRead(err), err
	}
	if resp.StatusCode != http.StatusOK {
		return dialing.Failed, fmt.Errorf("get %s: %s", fs.Arg(0), resp.Status)
	}
	return dialing.Connected, nil
}
