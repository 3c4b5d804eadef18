// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"
)

// standaloneFlags are the flags of a cache that runs by itself: memcached's under memcached's names, then ours.
type standaloneFlags struct {
	set *pflag.FlagSet

	port       int
	udpPort    int
	socket     string
	socketMask string
	listen     []string
	backlog    int
	protocol   string

	memory      int64
	noEvict     bool
	lockMemory  bool
	coreDumps   bool
	connections int
	threads     int
	itemSize    string
	perEvent    int
	noCAS       bool

	shutdown  bool
	noFlush   bool
	noDump    bool
	noWatch   bool
	delimiter string

	user     string
	daemon   bool
	pidFile  string
	verbose  int
	version  bool
	license  bool
	help     bool
	extended []string

	factor     string
	minSize    string
	largePages bool
	napiIDs    int

	sasl     bool
	tls      bool
	authFile string
	arena    arena

	expose    bool
	metrics   string
	drain     time.Duration
	cluster   string
	testHooks bool
}

func newStandaloneFlags() *standaloneFlags {
	f := &standaloneFlags{set: pflag.NewFlagSet("cache-server", pflag.ContinueOnError)}
	f.set.SortFlags = false
	f.defineNetwork()
	f.defineStorage()
	f.defineCommands()
	f.defineProcess()
	f.defineRefused()
	f.set.BoolVar(&f.expose, "expose", false, "listen on a wildcard or public address though strangers may reach it")
	f.set.StringVar(&f.metrics, "metrics", "",
		"address and port for /metrics, /healthz and /readyz, such as 127.0.0.1:9150")
	f.set.DurationVar(&f.drain, "drain-timeout", defaultDrain, "how long a stop waits for requests that have begun")
	f.set.StringVar(&f.cluster, "cluster-file", "",
		"file of the cluster's members, one host|ip|port a line, told to clients that discover them; followed while\n"+
			"it changes")
	f.set.BoolVar(&f.testHooks, "test-hooks", false,
		"let clients move the clock with debugtime, for tests; on under the name memcached-debug")
	return f
}

func (f *standaloneFlags) defineNetwork() {
	f.set.IntVarP(&f.port, "port", "p", defaultPort, "TCP port to listen on; -1 takes a free one")
	f.set.IntVarP(&f.udpPort, "udp-port", "U", 0, "taken for memcached's sake: there is no UDP")
	f.set.StringVarP(&f.socket, "unix-socket", "s", "", "UNIX socket to listen on instead of TCP")
	f.set.StringVarP(&f.socketMask, "unix-mask", "a", "700", "access to the UNIX socket, in octal")
	f.set.StringSliceVarP(&f.listen, "listen", "l", []string{"127.0.0.1"},
		"addresses to listen on, comma-separated or repeated; each may have a port")
	f.set.IntVarP(&f.backlog, "listen-backlog", "b", 0,
		"how many connections may wait to be accepted (default: the kernel's)")
	f.set.StringVarP(&f.protocol, "protocol", "B", "auto", "protocol: ascii, binary or auto")
	f.set.IntVarP(&f.connections, "conn-limit", "c", 1024, "how many clients may be connected")
	f.set.IntVarP(&f.perEvent, "max-reqs-per-event", "R", 20,
		"how many requests of one client are answered before others have their turn; taken into account if given")
}

func (f *standaloneFlags) defineStorage() {
	f.set.Int64VarP(&f.memory, "memory-limit", "m", 64, "memory for items and index, in mebibytes")
	f.set.BoolVarP(&f.noEvict, "disable-evictions", "M", false, "refuse to store in place of evicting when memory is full")
	f.set.StringVarP(&f.itemSize, "max-item-size", "I", "1m",
		"largest item, in bytes or with k, m or g behind it; from 1k to 1g")
	f.set.BoolVarP(&f.noCAS, "disable-cas", "C", false, "show 0 in place of each item's version")
	f.set.BoolVarP(&f.lockMemory, "lock-memory", "k", false, "keep all memory from being swapped out")
	f.set.IntVarP(&f.threads, "threads", "t", 0, "how many threads execute requests at once (default: as many as CPUs)")
	f.set.StringVarP(&f.factor, "slab-growth-factor", "f", "1.25",
		"changes the slab classes that statistics show; there are none behind them")
	f.set.StringVarP(&f.minSize, "slab-min-size", "n", "48", "as -f")
	f.set.BoolVarP(&f.largePages, "enable-largepages", "L", false, "taken for memcached's sake")
	f.set.StringVarP(&f.arena.path, "memory-file", "e", "",
		"file, best on tmpfs, that holds the items and leaves them to the next start after a graceful stop")
	f.set.IntVar(&f.arena.fd, "memory-fd", 0, "inherited descriptor, such as a memfd's, in place of --memory-file")
}

func (f *standaloneFlags) defineCommands() {
	f.set.BoolVarP(&f.shutdown, "enable-shutdown", "A", false, "let clients stop the server with shutdown")
	f.set.BoolVarP(&f.noFlush, "disable-flush-all", "F", false, "refuse flush_all")
	f.set.BoolVarP(&f.noDump, "disable-dumping", "X", false,
		"refuse stats cachedump, stats detail and the crawler's dumps")
	f.set.BoolVarP(&f.noWatch, "disable-watch", "W", false, "refuse watch")
	f.set.StringVarP(&f.delimiter, "prefix-delimiter", "D", ":",
		"what ends a key's prefix in stats detail, which is on from the start if this is given")
}

func (f *standaloneFlags) defineProcess() {
	f.set.StringVarP(&f.user, "user", "u", "", "user to become when started by root")
	f.set.BoolVarP(&f.daemon, "daemon", "d", false, "go to the background once it serves")
	f.set.StringVarP(&f.pidFile, "pidfile", "P", "", "file for the process number")
	f.set.BoolVarP(&f.coreDumps, "enable-coredumps", "r", false, "raise the limit for core dumps, which leave items out")
	f.set.CountVarP(&f.verbose, "verbose", "v", "log more; never keys or values")
	f.set.StringArrayVarP(&f.extended, "extended", "o", nil,
		"memcached's further options, comma-separated; idle_timeout, track_sizes, lru_crawler_sleep, "+
			"lru_crawler_tocrawl,\nno_lru_crawler and watcher_logbuf_size have an effect, those on slabs, queues and "+
			"hashing have none")
	f.set.BoolVarP(&f.version, "version", "V", false, "print the version and exit")
	f.set.BoolVarP(&f.license, "license", "i", false, "print the licence and exit")
	f.set.BoolVarP(&f.help, "help", "h", false, "print this help and exit")
}

// defineRefused defines flags that are there to be refused with a reason. The help leaves them out: test suites
// and scripts take a flag's name in it for the promise that it works.
func (f *standaloneFlags) defineRefused() {
	f.set.BoolVarP(&f.sasl, "enable-sasl", "S", false, "")
	f.set.BoolVarP(&f.tls, "enable-ssl", "Z", false, "")
	f.set.StringVarP(&f.authFile, "auth-file", "Y", "", "")
	f.set.IntVarP(&f.napiIDs, "napi-ids", "N", 0, "")
	for _, name := range []string{"enable-sasl", "enable-ssl", "auth-file", "napi-ids"} {
		_ = f.set.MarkHidden(name)
	}
}

func (f *standaloneFlags) usage() string {
	return fmt.Sprintf(`cache-server %s, a memcached-compatible cache (protocol of memcached %s)

Usage: cache-server [flags]
       cache-server fleet --help   for a pod of a fleet

It takes memcached's flags. What differs: it listens on loopback unless -l says otherwise, speaks TCP and never
UDP, and stops on SIGTERM, SIGINT or SIGUSR1 after it has answered what it has read. There are no slab classes, no
external storage and no proxy; options about these are taken where they cannot mislead and refused where they
could. MEMCACHED_PORT_FILENAME names a file for the ports in use.

Flags:
%s`, version, protocolVersion, f.set.FlagUsagesWrapped(118))
}
