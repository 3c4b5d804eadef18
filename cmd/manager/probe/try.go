// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/cache-server/dialling"
)

// What an installation proves of itself, once, from pods that `helm test`
// starts: a client gets in, and a stranger does not.

const (
	// dialTimeout is how long a stranger waits for a connection.
	dialTimeout = 3 * time.Second
	// clientTimeout bounds a client's one attempt, clientPause follows it.
	clientTimeout = 5 * time.Second
	clientPause   = 500 * time.Millisecond
	// testKey and testValue are what a client stores.
	testKey   = "memkeep-test"
	testValue = "stored"
)

// errOpen is a stranger that got in.
var errOpen = errors.New("a stranger got in")

// trial is one proof.
type trial struct {
	// limit is how long a client, or the decoy, is waited for.
	limit time.Duration
	out   io.Writer
	// permitted says which hosts may be dialled; nil means pods'.
	permitted func(netip.Addr) error
}

// client stores an item in the cache at host:port and reads it, as soon as that is possible.
func (t *trial) client(ctx context.Context, cache string) error {
	ctx, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	var last error
	for {
		err := storeAndRead(ctx, cache)
		if err == nil {
			fmt.Fprintf(t.out, "A client stored an item in %s and read it.\n", cache)
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no client was served by %s within %s: %w", cache, t.limit, last)
		case <-time.After(clientPause):
		}
	}
}

// storeAndRead does it over one connection.
func storeAndRead(ctx context.Context, cache string) error {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", cache)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	length := strconv.Itoa(len(testValue))
	request := "set " + testKey + " 0 60 " + length + "\r\n" + testValue + "\r\nget " + testKey + "\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	reader := bufio.NewReader(io.LimitReader(conn, 1<<10))
	for _, want := range []string{"STORED", "VALUE " + testKey + " 0 " + length, testValue, "END"} {
		got, err := reader.ReadString('\n')
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if got = strings.TrimRight(got, "\r\n"); got != want {
			return fmt.Errorf("it said %q where a cache says %q", got, want)
		}
	}
	return nil
}

// stranger dials targets, host:port each, and fails if one of them accepts. The
// decoy must accept before and after, or nothing is shown: empty for none.
func (t *trial) stranger(ctx context.Context, decoy string, targets []string) error {
	if len(targets) == 0 {
		return errors.New("a stranger needs targets: write host:port")
	}
	if err := t.open(ctx, decoy); err != nil {
		return err
	}
	found, errs := make([]map[string]controlapi.Outcome, len(targets)), make([]error, len(targets))
	var wait sync.WaitGroup
	for i, target := range targets {
		wait.Go(func() { found[i], errs[i] = t.dial(ctx, target) })
	}
	wait.Wait()
	var open []error
	for i, target := range targets {
		for _, address := range slices.Sorted(maps.Keys(found[i])) {
			switch outcome := found[i][address]; outcome {
			case controlapi.Connected:
				open = append(open, fmt.Errorf("%w: %s (%s) accepted the connection", errOpen, target, address))
			case controlapi.Failed:
				errs = append(errs, fmt.Errorf("%s (%s) could not be tried", target, address))
			default:
				fmt.Fprintf(t.out, "A stranger did not get in at %s (%s): %s.\n", target, address, outcome)
			}
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("%w; does this cluster enforce NetworkPolicies?", errors.Join(open...))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return t.open(ctx, decoy)
}

// open waits until the decoy accepts: whoever does not get there shows nothing
// by not getting anywhere else.
func (t *trial) open(ctx context.Context, decoy string) error {
	if decoy == "" {
		fmt.Fprintln(t.out, "There is no decoy: that the stranger can connect to anything at all is not shown.")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	for {
		results, err := t.dial(ctx, decoy)
		for address, outcome := range results {
			if outcome == controlapi.Connected {
				fmt.Fprintf(t.out, "A stranger reaches the decoy %s (%s), which is behind no policy.\n", decoy, address)
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no decoy at %s within %s (%v, %w): nothing is shown", decoy, t.limit, results,
				errors.Join(err, ctx.Err()))
		case <-time.After(clientPause):
		}
	}
}

// dial tries every address of a target.
func (t *trial) dial(ctx context.Context, target string) (map[string]controlapi.Outcome, error) {
	host, text, err := net.SplitHostPort(target)
	if err != nil {
		return nil, fmt.Errorf("target %q: write host:port", target)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("target %q: %s is no port", target, text)
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", host, err)
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	dialler := dialling.Dialler{Ports: []uint16{uint16(port)}, Concurrent: maxConcurrent, Permitted: t.permitted}
	list := make([]controlapi.Target, len(addresses))
	for i, a := range addresses {
		list[i] = controlapi.Target{
			Network: "tcp", Address: netip.AddrPortFrom(a.Unmap(), uint16(port)).String(),
			TimeoutMillis: int(dialTimeout / time.Millisecond),
		}
	}
	out := map[string]controlapi.Outcome{}
	for i, r := range dialler.All(ctx, list) {
		out[list[i].Address] = r.Outcome
	}
	return out, nil
}
