// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo shows on a real cluster what Memkeep promises: who gets into a
// cache and who does not, with every line that is sent and received. It exits
// with 1 and names the promise if one does not hold.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/memkeep/memkeep/test/harness"
)

// demoLimit is how long the demo may take before something must be wrong.
const demoLimit = 10 * time.Minute

const help = `Usage: make demo, or go run ./hack/demo [--samples DIR] [--keep | --remove]

Installs the operator, applies config/samples, and dials the cache as a client
and as strangers. What it made stays for you to try; a second run starts afresh.

  --samples DIR  folder with the Memcache to show (config/samples)
  --keep         start from the Memcache of an earlier run instead of a new one
  --remove       remove all that the demo made, the operator included, and stop

Environment, set by make demo: KUBECONFIG, MEMKEEP_INSTALL_YAML,
MEMKEEP_DIALER_IMAGE. NO_COLOR turns colours off.
Exit code: 0 every promise held, 1 one did not or the demo could not go on.
`

func main() {
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), help) }
	samples := flag.String("samples", "config/samples", "")
	keep := flag.Bool("keep", false, "")
	remove := flag.Bool("remove", false, "")
	flag.Parse()
	if flag.NArg() > 0 || *keep && *remove {
		flag.Usage()
		os.Exit(2)
	}
	// Client libraries log what they see; the screen is for the transcript.
	klog.SetLogger(logr.Discard())

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	if err := run(ctx, *samples, *keep, *remove); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		cancel()
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, samples string, keep, remove bool) error {
	cluster, err := harness.Connect()
	if err != nil {
		return err
	}
	d := &demo{Cluster: cluster, screen: newScreen(os.Stdout), samples: samples, keep: keep}
	cluster.Progress = d.wait
	if err := d.readSamples(); err != nil {
		return err
	}
	if remove {
		return d.removeAll(ctx)
	}
	start := time.Now()
	for _, part := range []func(context.Context) error{
		d.install, d.client, d.stranger, d.proof, d.forward, d.rebirth, d.label,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	if d.open {
		d.line("\nStrangers got in. Either this cluster enforces no NetworkPolicy, or another policy admits them:")
		d.line("  kubectl get networkpolicy -n %s", d.fleet.Namespace)
	}
	if len(d.broken) > 0 {
		return fmt.Errorf("%d of %d promises did not hold: %q", len(d.broken), d.kept+len(d.broken), d.broken)
	}
	d.ending(time.Since(start))
	return nil
}
