// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/server"
)

// Ports of a pod of a fleet.
const (
	cachePort   = 11211
	monitorPort = 9150
)

const defaultDrain = 10 * time.Second

// planFleet reads what the operator gives a pod. Whatever is missing or wrong stops the start: a cache that
// guesses could listen where nobody should call.
func planFleet(args []string, getenv func(string) string, stdout, stderr io.Writer) (*plan, error) {
	flags := pflag.NewFlagSet("cache-server fleet", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.SortFlags = false
	memory := flags.Int64("memory-bytes", 0, "budget for items and index, in bytes (required)")
	itemSize := flags.Int64("max-item-size", 1<<20, "largest item, in bytes")
	connections := flags.Int("max-connections", 1024, "how many clients may be connected")
	admin := flags.String("admin-commands", "", "admin commands that clients may use, comma-separated: "+
		"any of FlushAll, CacheMemlimit, Verbosity, StatsReset, StatsDetail, StatsConns, StatsCachedump, LRUCrawler, Watch")
	drain := flags.Duration("drain-timeout", defaultDrain, "how long a stop waits for requests that have begun")
	gate := flags.String("gate", "", "closed: answer nobody until the operator opens the gate (default: there is none)")
	peers := flags.String("peers", "", "verified: serve the addresses that the operator lists and nobody else, "+
		"and nobody before it has (default: policy, whoever can connect)")
	ca := flags.String("control-ca", "", fmt.Sprintf("file with the operator's CA: opens the control port, %d, once "+
		"there is one (default: no control port); needs the environment's POD_UID", controlapi.Port))
	var place arena
	flags.StringVar(&place.path, "memory-file", getenv("MEMORY_FILE"), "file on tmpfs that holds the items and leaves "+
		"them to the next start after a graceful stop (default: the environment's MEMORY_FILE)")
	flags.IntVar(&place.fd, "memory-fd", 0, "inherited descriptor, such as a memfd's, in place of --memory-file")
	flags.Usage = func() {
		_, _ = fmt.Fprintf(stdout, "Usage: POD_IPS=<addresses> cache-server fleet --memory-bytes=N [flags]\n\n"+
			"Serves as one pod of a fleet: the cache on port %d and health and metrics on port %d of exactly\n"+
			"the addresses in POD_IPS. Loopback, wildcard and missing addresses are refused, and so is root.\n\n%s",
			cachePort, monitorPort, flags.FlagUsages())
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	addrs, err := parsePodIPs(getenv("POD_IPS"))
	if err != nil {
		return nil, err
	}
	if err := checkLock(flags); err != nil {
		return nil, err
	}
	control, err := planControl(*ca, getenv("POD_UID"), addrs)
	if err != nil {
		return nil, err
	}
	commands, err := server.ParseAdminCommands(*admin)
	if err != nil {
		return nil, fmt.Errorf("--admin-commands: %w", err)
	}
	if err := errors.Join(checkLimits(*memory, *itemSize, *connections, *drain), place.check()); err != nil {
		return nil, err
	}
	heap := newHeap(*itemSize, *connections, true)
	if err := heap.admit(*memory); err != nil {
		return nil, fmt.Errorf("--memory-bytes: %w", err)
	}
	if os.Getuid() == 0 {
		return nil, errors.New("refuse to run as root in a fleet: run as another user, such as 65532")
	}
	// Nobody who shares the pod may read the memory of this process.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("make the process not dumpable: %w", err)
	}
	heap.follow(*memory)
	threads := setThreads(os.DirFS("/"), 0, getenv("GOMAXPROCS"))
	level := new(slog.LevelVar)
	p := &plan{
		log:    slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level})),
		memory: *memory, drainTimeout: *drain, arena: place, heap: heap, control: control,
		server: server.Config{
			LogLevel: level, MaxItemSize: int(*itemSize), MaxConnections: *connections,
			AdminCommands: commands, MaxBudget: *memory, RefuseOwnAddress: true,
			GateClosed: *gate == gateClosed, VerifiedPeers: *peers == peersVerified,
			Settings: server.Settings{Port: cachePort, Interface: getenv("POD_IPS"), Threads: threads},
		},
	}
	for _, addr := range addrs {
		p.addresses = append(p.addresses, netip.AddrPortFrom(addr, cachePort))
		p.monitor = append(p.monitor, netip.AddrPortFrom(addr, monitorPort))
	}
	return p, nil
}

// What --gate and --peers may be.
const (
	gateClosed    = "closed"
	peersPolicy   = "policy"
	peersVerified = "verified"
)

// checkLock refuses a lock that nobody meant: a word that is not known must not leave the cache open.
func checkLock(flags *pflag.FlagSet) error {
	gate, peers := flags.Lookup("gate"), flags.Lookup("peers")
	switch word := peers.Value.String(); {
	case gate.Changed && gate.Value.String() != gateClosed:
		return fmt.Errorf("--gate is %q: write %s, or leave it out", gate.Value, gateClosed)
	case peers.Changed && word != peersPolicy && word != peersVerified:
		return fmt.Errorf("--peers is %q: write %s, or %s, or leave it out", word, peersVerified, peersPolicy)
	}
	return nil
}

// checkLimits refuses sizes that cannot work.
func checkLimits(memory, itemSize int64, connections int, drain time.Duration) error {
	switch {
	case memory == 0:
		return errors.New("--memory-bytes is missing")
	case memory < engine.MinBytes:
		return fmt.Errorf("--memory-bytes is %d: it must be at least %d", memory, engine.MinBytes)
	case itemSize < engine.MinItemSize:
		return fmt.Errorf("--max-item-size is %d: it must be at least %d", itemSize, engine.MinItemSize)
	case itemSize > memory/2:
		return fmt.Errorf("--max-item-size is %d: it may be at most half of the memory, %d", itemSize, memory/2)
	case itemSize > maxItemSize:
		return fmt.Errorf("--max-item-size is %d: it may be at most %d", itemSize, maxItemSize)
	case connections < 1 || connections > 1<<20:
		return fmt.Errorf("--max-connections is %d: it must be from 1 to %d", connections, 1<<20)
	case drain <= 0:
		return fmt.Errorf("--drain-timeout is %s: it must be positive", drain)
	}
	return nil
}
