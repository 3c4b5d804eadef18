// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/memkeep/memkeep/test/bench/subject"
	"github.com/memkeep/memkeep/test/process"
)

const (
	ours      = "memkeep"
	reference = "memcached"
)

const usage = `Usage: bench [flags]

Compares the cache server with memcached. Both run at once on the same pinned processors, fresh in every round, and
the same load goes to each in turns: scenario by scenario, the order turned round every time. Whichever is not asked
is idle. What is told is the median over the rounds, the least and the most, and the median of the rounds' ratios.

CPU is the time in user and kernel mode of the whole server process per key, from the kernel's clock of it. Closed
loop sends the next batch when the last is answered. Open loop sends at random times at 60 % of the rate that
memcached did at most, and counts latency from the time at which a request should have left. Every byte of every
reply is checked; a wrong or missing one fails the scenario and the run.

All servers listen on loopback, on ports of the kernel's choice, and are ended with the run. There is no TLS: the
cache server does not speak it yet.

Flags:
`

// options are what the command line asks for.
type options struct {
	programs []subject.Program
	rounds   int
	unit     time.Duration
	warmup   time.Duration
	threads  int
	keys     int
	nice     int
	realtime bool
	quick    bool
	list     bool
	output   string
	wanted   *regexp.Regexp
	strace   string
	density  string
	hitratio string
	layout   layout
}

// peers collects -peer flags.
type peers []subject.Program

// String is what flag prints as the default: nothing.
func (p *peers) String() string { return "" }

// Set takes the value of one flag.
func (p *peers) Set(value string) error {
	name, path, named := strings.Cut(value, "=")
	if !named {
		name, path = "peer", value
	}
	for _, taken := range append(*p, subject.Program{Name: ours}, subject.Program{Name: reference}) {
		if taken.Name == name {
			return fmt.Errorf("there is a server called %s already", name)
		}
	}
	*p = append(*p, subject.Program{Name: name, Path: path})
	return nil
}

func parseOptions(args []string, stdout, stderr io.Writer) (*options, error) {
	o := &options{}
	var more peers
	var scenarios string
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(stderr)
	server := set.String("server", "bin/cache-server", "`path` of our cache server")
	memcached := set.String("memcached", unpacked("memcached"), "`path` of the memcached to compare with")
	set.Var(&more, "peer", "[NAME=]`path` of one more memcached to compare with; may be repeated")
	set.StringVar(&o.strace, "strace", unpacked("strace"),
		"`path` of strace, which counts system calls; empty leaves that out")
	set.StringVar(&o.density, "density", "bin/density",
		"`path` of test/bench/density, which measures the memory of items;\nleft out with -quick, and where empty")
	set.StringVar(&o.hitratio, "hitratio", "bin/hitratio",
		"`path` of test/bench/hitratio, which counts misses at equal memory;\nleft out with -quick, and where empty")
	set.BoolVar(&o.quick, "quick", false, "about two minutes: fewer and shorter rounds, the main scenarios alone")
	set.IntVar(&o.rounds, "rounds", 0, "how many rounds; 0 is 5, and 3 with -quick")
	set.DurationVar(&o.unit, "time", 0,
		"how long a scenario is measured in a round, and open loops two to four times\n"+
			"that; 0 is 2s, and 700ms with -quick")
	set.StringVar(&scenarios, "run", ".",
		"`regexp` of the scenarios to run; -list names them, and idle, syscalls, items\n"+
			"and misses are four more")
	set.IntVar(&o.threads, "threads", 1,
		"threads of each server, and of the generator; they have processors of their own\n"+
			"as far as there are enough")
	set.IntVar(&o.keys, "keys", defaultKeys, "how many keys with small values there are")
	set.IntVar(&o.nice, "nice", 0, "priority of servers and generator alike: -20 is the highest and needs root")
	set.BoolVar(&o.realtime, "realtime", false,
		"run servers and generator before all else on their processors, for tails on a machine\n"+
			"that has other work; needs root, and leaves others little: choose few scenarios")
	set.StringVar(&o.output, "o", "table", "output `format`: table or json")
	set.BoolVar(&o.list, "list", false, "list the scenarios and their targets, and exit")
	set.Usage = func() {
		fmt.Fprint(stdout, usage)
		set.SetOutput(stdout)
		set.PrintDefaults()
	}
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q (bench -help lists the flags)", set.Arg(0))
	}
	var err error
	if o.wanted, err = regexp.Compile(scenarios); err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	o.programs = append([]subject.Program{{Name: reference, Path: *memcached}, {Name: ours, Path: *server}}, more...)
	return o, o.complete()
}

// complete fills in what depends on other flags and refuses what cannot work.
func (o *options) complete() error {
	rounds, unit := 5, 2*time.Second
	if o.quick {
		rounds, unit = 3, 700*time.Millisecond
	}
	if o.rounds == 0 {
		o.rounds = rounds
	}
	if o.unit == 0 {
		o.unit = unit
	}
	o.warmup = min(o.unit/5, 500*time.Millisecond)
	switch {
	case o.rounds < 1 || o.rounds > 1000:
		return fmt.Errorf("-rounds is %d: it must be from 1 to 1000", o.rounds)
	case o.unit < 10*time.Millisecond || o.unit > 10*time.Minute:
		return fmt.Errorf("-time is %s: it must be from 10ms to 10m", o.unit)
	case o.threads < 1 || o.threads > runtime.NumCPU():
		return fmt.Errorf("-threads is %d: it must be from 1 to %d, the number of processors", o.threads, runtime.NumCPU())
	case o.keys < 1_000 || o.keys > 3_000_000:
		return fmt.Errorf("-keys is %d: it must be from 1000 to 3000000, which the servers' memory holds", o.keys)
	case o.nice < -20 || o.nice > 19:
		return fmt.Errorf("-nice is %d: it must be from -20 to 19", o.nice)
	case o.output != "table" && o.output != "json":
		return fmt.Errorf("-o is %q: it must be table or json", o.output)
	}
	if o.list {
		return nil
	}
	for i, p := range o.programs {
		path, err := exec.LookPath(p.Path)
		if err != nil {
			return fmt.Errorf("%s is not there (make build and hack/debs.sh memcached bring both): %w", p.Name, err)
		}
		if o.programs[i].Path, err = filepath.Abs(path); err != nil {
			return err
		}
	}
	var err error
	o.layout, err = newLayout(o.threads)
	return err
}

// unpacked is where hack/debs.sh puts a program, or its bare name where it is not there.
func unpacked(name string) string {
	path, err := process.Program(name)
	if err != nil {
		return name
	}
	return path
}
