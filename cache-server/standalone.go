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
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/server"
)

const (
	// maxItemSize is the largest that -I takes, as in memcached.
	maxItemSize = 1 << 30
	defaultPort = 11211
)

// debugName is what memcached calls its build for tests: under it the test hooks are on, as in that build.
const debugName = "memcached-debug"

// bindings are what -B takes.
var bindings = map[string]server.Binding{
	"auto": server.BindAuto, "ascii": server.BindASCII, "binary": server.BindBinary,
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
	case f.license:
		_, _ = fmt.Fprint(stdout, "Copyright The Memkeep Authors. Licensed under the Apache License, Version 2.0.\n")
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
	if f.set.Changed("udp-port") && f.udpPort != 0 && !f.set.Changed("port") {
		f.port = f.udpPort // as memcached has it
	}
	heap := newHeap(itemSize, f.connections, false)
	heap.follow(f.memory << 20)
	level := new(slog.LevelVar)
	if f.verbose > 0 {
		level.Set(slog.LevelDebug)
	}
	p := &plan{
		log:    slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})),
		memory: f.memory << 20, socket: f.socket, arena: f.arena, heap: heap, drainTimeout: f.drain, testHooks: f.testHooks,
		server: server.Config{
			LogLevel: level, Verbosity: f.verbose, MaxItemSize: int(itemSize), MaxConnections: f.connections,
			BindingProtocol: bindings[f.protocol], AdminCommands: f.adminCommands(), NoDump: f.noDump,
			RequestsPerEvent: f.requestsPerEvent(), DisableCAS: f.noCAS,
			PrefixDelimiter: f.delimiter[0], StatsDetail: f.set.Changed("prefix-delimiter"),
		},
		process: processPlan{
			user: f.user, daemon: f.daemon, pidFile: f.pidFile, coreDumps: f.coreDumps, lockMemory: f.lockMemory,
			portFile: os.Getenv("MEMCACHED_PORT_FILENAME"),
		},
	}
	if f.udpPort != 0 {
		p.log.Warn("There is no UDP: nothing listens there", "port", f.udpPort)
	}
	if err := heap.admit(f.memory << 20); err != nil {
		p.log.Warn("Memory may run short", "error", err)
	}
	if os.Getuid() == 0 && f.user == "" {
		p.log.Warn("Running as root: give -u a user to become")
	}
	if p.process.socketMask, err = parseMask(f.socketMask); err != nil {
		return nil, err
	}
	if err := f.settings(p); err != nil {
		return nil, err
	}
	return p, f.addresses(ctx, p)
}

// addresses resolves what is listened on.
func (f *standaloneFlags) addresses(ctx context.Context, p *plan) (err error) {
	if f.socket == "" {
		if p.addresses, err = standaloneAddresses(ctx, f.listen, max(f.port, 0), f.expose); err != nil {
			return err
		}
	}
	if f.cluster != "" {
		if p.cluster, err = openCluster(f.cluster, p.log); err != nil {
			return err
		}
	}
	if f.metrics == "" {
		return nil
	}
	monitor, err := netip.ParseAddrPort(f.metrics)
	if err != nil {
		return fmt.Errorf("--metrics is %q: write an IP address and a port, such as 127.0.0.1:9150", f.metrics)
	}
	if p.monitor, err = standaloneAddresses(ctx, []string{monitor.String()}, 0, f.expose); err != nil {
		return fmt.Errorf("--metrics: %w", err)
	}
	return nil
}

// settings fills in what stats settings tells, and how many threads there are.
func (f *standaloneFlags) settings(p *plan) error {
	threads := setThreads(os.DirFS("/"), f.threads, os.Getenv("GOMAXPROCS"))
	factor, err := strconv.ParseFloat(f.factor, 64)
	if err != nil || factor <= 1 || factor > 1<<20 {
		return fmt.Errorf("-f is %q: it must be a number above 1", f.factor)
	}
	minSize, err := strconv.ParseInt(f.minSize, 10, 32)
	if err != nil || minSize < 1 {
		return fmt.Errorf("-n is %q: it must be a number of at least 1", f.minSize)
	}
	set := &p.server.Settings
	*set = server.Settings{
		Port: f.port, Interface: strings.Join(f.listen, ","), Socket: f.socket, Threads: threads,
		Umask: strconv.FormatUint(uint64(p.process.socketMask), 8), NoEvict: f.noEvict, Backlog: f.backlog,
		SlabFactor: factor, SlabMinSize: int(minSize), MemoryFile: f.arena.path,
	}
	if f.socket != "" {
		set.Port, set.Interface = 0, ""
	}
	return parseExtended(f.extended, &p.server)
}

// requestsPerEvent is the limit if one was asked for: the server has fairness of its own.
func (f *standaloneFlags) requestsPerEvent() int {
	if f.set.Changed("max-reqs-per-event") {
		return f.perEvent
	}
	return 0
}

// adminCommands are all but those that were turned off.
func (f *standaloneFlags) adminCommands() []server.AdminCommand {
	refused := map[server.AdminCommand]bool{
		server.AdminFlushAll: f.noFlush, server.AdminStatsDetail: f.noDump, server.AdminStatsCachedump: f.noDump,
		server.AdminWatch: f.noWatch,
	}
	all := slices.Clone(server.AllAdminCommands)
	if f.shutdown {
		all = append(all, server.AdminShutdown)
	}
	return slices.DeleteFunc(all, func(c server.AdminCommand) bool { return refused[c] })
}

// parseMask reads the access to a UNIX socket.
func parseMask(text string) (uint32, error) {
	mask, err := strconv.ParseUint(text, 8, 16)
	if err != nil || mask > 0o777 {
		return 0, fmt.Errorf("-a is %q: write three octal digits, such as 700", text)
	}
	return uint32(mask), nil
}

// check refuses values that cannot work and returns the size of the largest item.
func (f *standaloneFlags) check() (int64, error) {
	itemSize, err := parseSize(f.itemSize)
	switch {
	case err != nil:
		return 0, fmt.Errorf("-I: %w", err)
	case f.port < -1 || f.port > 1<<16-1:
		return 0, fmt.Errorf("-p is %d: it must be from 1 to 65535, or -1 for a free port", f.port)
	case f.port == 0 && f.socket == "":
		return 0, errors.New("-p is 0, which is no TCP, and there is no -s: nobody could connect")
	case f.udpPort < -1 || f.udpPort > 1<<16-1:
		return 0, fmt.Errorf("-U is %d: it must be from 0 to 65535", f.udpPort)
	case f.memory < 1 || f.memory > 1<<30:
		return 0, fmt.Errorf("-m is %d: it must be from 1 to %d mebibytes", f.memory, 1<<30)
	case f.connections < 1 || f.connections > 1<<20:
		return 0, fmt.Errorf("-c is %d: it must be from 1 to %d", f.connections, 1<<20)
	case f.set.Changed("threads") && f.threads < 1:
		return 0, fmt.Errorf("-t is %d: it must be at least 1", f.threads)
	case f.perEvent < 1:
		return 0, fmt.Errorf("-R is %d: it must be at least 1", f.perEvent)
	case f.backlog < 0:
		return 0, fmt.Errorf("-b is %d: it must not be negative", f.backlog)
	case len(f.delimiter) != 1:
		return 0, fmt.Errorf("-D is %q: it must be one character", f.delimiter)
	case f.drain <= 0:
		return 0, fmt.Errorf("--drain-timeout is %s: it must be positive", f.drain)
	case itemSize < engine.MinItemSize || itemSize > maxItemSize:
		return 0, fmt.Errorf("-I is %d: it must be from %d to %d bytes", itemSize, engine.MinItemSize, maxItemSize)
	case itemSize > f.memory<<20/2:
		return 0, fmt.Errorf("-I is %d: it may be at most half of -m, %d", itemSize, f.memory<<20/2)
	}
	return itemSize, errors.Join(f.refuse(), f.arena.check())
}

// refuse turns down what would promise something that is not there.
func (f *standaloneFlags) refuse() error {
	switch {
	case f.sasl:
		return errors.New("-S: there is no authentication yet, and a server that was asked for it must not serve without it")
	case f.authFile != "":
		return errors.New("-Y: there is no authentication yet, and a server that was asked for it must not serve without it")
	case f.tls:
		return errors.New("-Z: " + noTLS)
	}
	if _, ok := bindings[f.protocol]; !ok {
		return fmt.Errorf("-B is %q: it must be ascii, binary or auto", f.protocol)
	}
	return nil
}
