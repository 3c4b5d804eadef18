// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package probe is what the pods run by which the operator proves that the
// cluster enforces NetworkPolicies. An outsider dials fleets, at the operator's
// request alone, and must not get in; a decoy stands beside them, behind no
// policy, and shows that the way there is open. Neither has rights or knows
// anything. The package belongs to the manager's binary and imports nothing of
// the manager.
package probe

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/cache-server/dialling"
)

// Ports of a fleet's pods.
const (
	portCache    = 11211
	portCacheTLS = 11212
	portMetrics  = 9150
)

const (
	// maxConcurrent is how many targets an outsider tries at a time, and maxDials
	// how many requests it works on.
	maxConcurrent = 64
	maxDials      = 16
	// maxMessage is the longest request, in bytes.
	maxMessage = 16 << 10
	// decoyMost and decoyPerSecond bound a decoy.
	decoyMost      = 128
	decoyPerSecond = 256
	// memoryLimit is what the Go runtime may use, far below the pod's limit.
	memoryLimit = 16 << 20
)

const usage = `Usage: POD_IPS=<addresses> manager probe decoy
       POD_IPS=<addresses> POD_UID=<uid> manager probe outsider [--ca-file FILE]
       manager probe client [--for DURATION] HOST:PORT
       manager probe stranger [--for DURATION] [--decoy HOST:PORT] HOST:PORT...

A decoy accepts on ports 11211 and 11212 of the pod's addresses and says one
line. An outsider serves the control port, 11213, and dials what the operator
asks it to dial.

A client stores an item in a cache and reads it. A stranger dials every address
of its targets and fails if one accepts, or if the decoy does not. Both end.
`

// Run is the program: args are what follows "probe". It returns when ctx ends.
func Run(ctx context.Context, args []string, env func(string) string, build string, out io.Writer) error {
	flags := flag.NewFlagSet("manager probe", flag.ContinueOnError)
	flags.SetOutput(out)
	bundle := flags.String("ca-file", "/etc/memkeep/ca/ca.crt", "the CA `bundle` that says who the operator is")
	decoyAt := flags.String("decoy", "", "a decoy's `host:port`, which a stranger must reach")
	limit := flags.Duration("for", 2*time.Minute, "how long a client waits to be served, and a stranger for the decoy")
	flags.Usage = func() { fmt.Fprint(out, usage) }
	role := ""
	if len(args) > 0 {
		role, args = args[0], args[1:]
	}
	if !slices.Contains([]string{"decoy", "outsider", "client", "stranger"}, role) {
		flags.Usage()
		return fmt.Errorf("role %q: write decoy, outsider, client or stranger", role)
	}
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("read flags: %w", err)
	}
	try := trial{limit: *limit, out: out}
	switch {
	case role == "stranger":
		return try.stranger(ctx, *decoyAt, flags.Args())
	case role == "client" && flags.NArg() == 1:
		return try.client(ctx, flags.Arg(0))
	case role == "client":
		return errors.New("a client needs one cache: write host:port")
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	addresses, err := podAddresses(env("POD_IPS"))
	if err != nil {
		return err
	}
	debug.SetMemoryLimit(memoryLimit)
	logger := slog.New(slog.NewJSONHandler(out, nil))
	if role == "decoy" {
		return decoy(ctx, logger, addresses)
	}
	return outsider(ctx, logger, addresses, env("POD_UID"), *bundle, build)
}

// podAddresses reads the pod's addresses as the downward API writes status.podIPs.
func podAddresses(list string) ([]netip.Addr, error) {
	var out []netip.Addr
	for text := range strings.SplitSeq(list, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("POD_IPS holds %q: set it from the downward API's status.podIPs", text)
		}
		if err := dialling.CheckHost(a.Unmap()); err != nil {
			return nil, fmt.Errorf("POD_IPS holds %s, which is %w and no address of a pod", a, err)
		}
		out = append(out, a.Unmap())
	}
	return out, nil
}

// listen opens the ports of all addresses, or none.
func listen(ctx context.Context, addresses []netip.Addr, ports ...uint16) ([]net.Listener, error) {
	var out []net.Listener
	for _, a := range addresses {
		for _, port := range ports {
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", netip.AddrPortFrom(a, port).String())
			if err != nil {
				for _, l := range out {
					_ = l.Close()
				}
				return nil, fmt.Errorf("listen on port %d of %s: %w", port, a, err)
			}
			out = append(out, l)
		}
	}
	return out, nil
}

// decoy serves until ctx ends.
func decoy(ctx context.Context, logger *slog.Logger, addresses []netip.Addr) error {
	listeners, err := listen(ctx, addresses, portCache, portCacheTLS)
	if err != nil {
		return err
	}
	logger.Info("Decoy listens", "addresses", addresses)
	d := &dialling.Decoy{Most: decoyMost, PerSecond: decoyPerSecond}
	var group errgroup.Group
	for _, l := range listeners {
		context.AfterFunc(ctx, func() { _ = l.Close() })
		group.Go(func() error { return d.Serve(l) })
	}
	return group.Wait()
}

// outsider serves until ctx ends.
func outsider(
	ctx context.Context, logger *slog.Logger, addresses []netip.Addr, uid, bundle, build string,
) error {
	identity, err := controlapi.NewIdentity(uid, controlapi.NewBundle(bundle).Roots)
	if err != nil {
		return fmt.Errorf("POD_UID: %w", err)
	}
	server := controlapi.NewServer(controlapi.ServerConfig{Identity: identity, Logger: logger, Build: build})
	server.Handle("POST "+controlapi.PathDial, controlapi.Take(maxMessage, newDialler().dial))
	logger.Info("Outsider waits for the operator", "addresses", addresses, "port", controlapi.Port)
	server.Run(ctx, func(ctx context.Context) ([]net.Listener, error) {
		return listen(ctx, addresses, controlapi.Port)
	})
	return nil
}

// dialler does what the operator asks for, within bounds.
type dialler struct {
	dialling dialling.Dialler
	requests chan struct{}
}

func newDialler() *dialler {
	return &dialler{
		dialling: dialling.Dialler{
			Ports:      []uint16{portCache, portCacheTLS, portMetrics, controlapi.Port},
			Concurrent: maxConcurrent,
		},
		requests: make(chan struct{}, maxDials),
	}
}

// dial tries a request's targets.
func (d *dialler) dial(ctx context.Context, request *controlapi.Dial) (controlapi.Dialled, error) {
	if n := len(request.Targets); n == 0 || n > controlapi.MaxTargets {
		return controlapi.Dialled{}, controlapi.AsInvalid(
			errors.New("targets: there are " + strconv.Itoa(n) + ": write 1 to " + strconv.Itoa(controlapi.MaxTargets)))
	}
	select {
	case d.requests <- struct{}{}:
		defer func() { <-d.requests }()
	case <-ctx.Done():
		return controlapi.Dialled{}, fmt.Errorf("wait for other requests: %w", ctx.Err())
	}
	return controlapi.Dialled{Results: d.dialling.All(ctx, request.Targets)}, nil
}
