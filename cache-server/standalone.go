// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/server"
)

// maxItemSize is the largest that -I takes, as in memcached.
const maxItemSize = 1 << 30

// standaloneFlags are the flags of a cache that runs by itself.
type standaloneFlags struct {
	set         *pflag.FlagSet
	listen      []string
	port        int
	udpPort     int
	socket      string
	memory      int64
	connections int
	threads     int
	itemSize    string
	verbose     int
	version     bool
	help        bool
	expose      bool
	metrics     string
	drain       time.Duration
	cluster     string
}

func newStandaloneFlags() *standaloneFlags {
	f := &standaloneFlags{set: pflag.NewFlagSet("cache-server", pflag.ContinueOnError)}
	f.set.SortFlags = false
	f.set.IntVarP(&f.port, "port", "p", 11211, "TCP port to listen on")
	f.set.StringVarP(&f.socket, "unix-socket", "s", "", "UNIX socket to listen on instead of TCP")
	f.set.StringSliceVarP(&f.listen, "listen", "l", []string{"127.0.0.1"},
		"addresses to listen on, comma-separated or repeated; each may have a port")
	f.set.Int64VarP(&f.memory, "memory-limit", "m", 64, "memory for items and index, in mebibytes")
	f.set.IntVarP(&f.connections, "conn-limit", "c", 1024, "how many clients may be connected")
	f.set.IntVarP(&f.threads, "threads", "t", 0, "how many threads execute requests at once (default: as many as CPUs)")
	f.set.StringVarP(&f.itemSize, "max-item-size", "I", "1m",
		"largest item, in bytes or with k, m or g behind it; from 1k to 1g")
	f.set.CountVarP(&f.verbose, "verbose", "v", "log more; never keys or values")
	f.set.BoolVar(&f.expose, "expose", false, "listen on a wildcard or public address though strangers may reach it")
	f.set.StringVar(&f.metrics, "metrics", "",
		"address and port for /metrics, /healthz and /readyz, such as 127.0.0.1:9150")
	f.set.DurationVar(&f.drain, "drain-timeout", defaultDrain, "how long a stop waits for requests that have begun")
	f.set.StringVar(&f.cluster, "cluster-file", "",
		"file of the cluster's members, one host|ip|port a line, told to clients that discover them; followed while\n"+
			"it changes")
	f.set.IntVarP(&f.udpPort, "udp-port", "U", 0, "only 0 is taken: there is no UDP")
	f.set.BoolVarP(&f.version, "version", "V", false, "print the version and exit")
	f.set.BoolVarP(&f.help, "help", "h", false, "print this help and exit")
	return f
}

func (f *standaloneFlags) usage() string {
	return fmt.Sprintf(`cache-server %s, a memcached-compatible cache (protocol of memcached %s)

Usage: cache-server [flags]
       cache-server fleet --help   for a pod of a fleet

It listens on loopback unless -l says otherwise, speaks TCP and never UDP, and stops on SIGTERM or SIGINT after
it has answered what it has read.

Flags:
%s`, version, protocolVersion, f.set.FlagUsages())
}

// planStandalone reads memcached's flags.
func planStandalone(ctx context.Context, args []string, stdout, stderr io.Writer) (*plan, error) {
	f := newStandaloneFlags()
	f.set.SetOutput(stderr)
	f.set.Usage = func() {}
	if err := f.set.Parse(args); err != nil {
		return nil, fmt.Errorf("%w (cache-server -h lists the flags)", err)
	}
	switch {
	case f.help:
		_, _ = fmt.Fprint(stdout, f.usage())
		return nil, pflag.ErrHelp
	case f.version:
		_, _ = fmt.Fprintf(stdout, "memkeep cache-server %s (memcached %s)\n", version, protocolVersion)
		return nil, pflag.ErrHelp
	case f.set.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q (cache-server -h lists the flags)", f.set.Arg(0))
	}
	return f.plan(ctx, stderr)
}

func (f *standaloneFlags) plan(ctx context.Context, stderr io.Writer) (*plan, error) {
	itemSize, err := f.check()
	if err != nil {
		return nil, err
	}
	if limit := memoryLimit(os.DirFS("/")); limit > 0 {
		debug.SetMemoryLimit(heapLimit(limit, f.memory<<20, itemSize, f.connections))
	}
	level := new(slog.LevelVar)
	if f.verbose > 0 {
		level.Set(slog.LevelDebug)
	}
	threads := f.threads
	if threads > 0 {
		runtime.GOMAXPROCS(threads)
	} else {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &plan{
		log:   slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})),
		level: level, memory: f.memory << 20, maxItemSize: itemSize, connections: f.connections,
		socket: f.socket, admin: server.AllAdminCommands, verbosity: f.verbose, drainTimeout: f.drain,
		settings: server.Settings{
			Port: f.port, Interface: strings.Join(f.listen, ","), Socket: f.socket, Threads: threads,
		},
	}
	if f.socket != "" {
		p.settings.Port, p.settings.Interface = 0, ""
	} else if p.addresses, err = standaloneAddresses(ctx, f.listen, f.port, f.expose); err != nil {
		return nil, err
	}
	if f.cluster != "" {
		if p.cluster, err = openCluster(f.cluster, p.log); err != nil {
			return nil, err
		}
	}
	if f.metrics == "" {
		return p, nil
	}
	monitor, err := netip.ParseAddrPort(f.metrics)
	if err != nil {
		return nil, fmt.Errorf("--metrics is %q: write an IP address and a port, such as 127.0.0.1:9150", f.metrics)
	}
	if p.monitor, err = standaloneAddresses(ctx, []string{monitor.String()}, 0, f.expose); err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	return p, nil
}

// check refuses values that cannot work and returns the size of the largest item.
func (f *standaloneFlags) check() (int64, error) {
	itemSize, err := parseSize(f.itemSize)
	switch {
	case err != nil:
		return 0, fmt.Errorf("-I: %w", err)
	case f.udpPort != 0:
		return 0, errors.New("-U: there is no UDP: it made memcached an amplifier of attacks")
	case f.port < 1 || f.port > 1<<16-1:
		return 0, fmt.Errorf("-p is %d: it must be from 1 to 65535", f.port)
	case f.memory < 1 || f.memory > 1<<30:
		return 0, fmt.Errorf("-m is %d: it must be from 1 to %d mebibytes", f.memory, 1<<30)
	case f.connections < 1 || f.connections > 1<<20:
		return 0, fmt.Errorf("-c is %d: it must be from 1 to %d", f.connections, 1<<20)
	case f.set.Changed("threads") && f.threads < 1:
		return 0, fmt.Errorf("-t is %d: it must be at least 1", f.threads)
	case itemSize < engine.MinItemSize || itemSize > maxItemSize:
		return 0, fmt.Errorf("-I is %d: it must be from %d to %d bytes", itemSize, engine.MinItemSize, maxItemSize)
	case itemSize > f.memory<<20/2:
		return 0, fmt.Errorf("-I is %d: it may be at most half of -m, %d", itemSize, f.memory<<20/2)
	case f.drain <= 0:
		return 0, fmt.Errorf("--drain-timeout is %s: it must be positive", f.drain)
	}
	return itemSize, nil
}
