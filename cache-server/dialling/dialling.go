// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dialling connects to the ports of a fleet's pods as a stranger would,
// and says what became of it. It is what a prober does on the operator's
// behalf, and, towards a decoy, what a cache does to show that it has no way
// out. It sends nothing but a nonce, or over UDP one datagram.
package dialling

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

const (
	// maxTimeout bounds one target's time.
	maxTimeout = 10 * time.Second
	// replyTimeout is how long somebody who accepted has to answer the nonce or
	// to hang up.
	replyTimeout = time.Second
	// maxError is how much of an error is told.
	maxError = 200
)

// datagram asks for the version in memcached's framing over UDP. The answer of
// a server that does answer is of the same size: nobody is flooded by it.
const datagram = "\x00\x00\x00\x00\x00\x01\x00\x00version\r\n"

// Dialler tries targets.
type Dialler struct {
	// Ports are those that may be dialled.
	Ports []uint16
	// Concurrent is how many targets are tried at a time.
	Concurrent int
	// Permitted says which hosts may be dialled; nil means CheckHost.
	Permitted func(netip.Addr) error
	slots     chan struct{}
	once      sync.Once
}

// CheckHost says why no pod can have this address.
func CheckHost(host netip.Addr) error {
	switch {
	case host.Zone() != "":
		return errors.New("an address with a zone")
	case host.IsUnspecified():
		return errors.New("a wildcard")
	case host.IsLoopback():
		return errors.New("a loopback address")
	case host.IsLinkLocalUnicast():
		return errors.New("a link-local address")
	case host.IsMulticast():
		return errors.New("a multicast address")
	case host == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errors.New("the broadcast address")
	}
	return nil
}

// All tries every target and returns the results in the same order.
func (d *Dialler) All(ctx context.Context, targets []controlapi.Target) []controlapi.Result {
	d.once.Do(func() { d.slots = make(chan struct{}, max(1, d.Concurrent)) })
	results := make([]controlapi.Result, len(targets))
	var wait sync.WaitGroup
	for i := range targets {
		wait.Go(func() {
			select {
			case d.slots <- struct{}{}:
				defer func() { <-d.slots }()
				results[i] = d.Dial(ctx, targets[i])
			case <-ctx.Done():
				results[i] = failed(ctx.Err())
			}
		})
	}
	wait.Wait()
	return results
}

// Dial tries one target.
func (d *Dialler) Dial(ctx context.Context, t controlapi.Target) controlapi.Result {
	address, err := d.check(&t)
	if err != nil {
		return failed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(t.TimeoutMillis)*time.Millisecond)
	defer cancel()
	start := time.Now()
	// No keep-alive and no MPTCP: the plainest connection there is.
	dialer := net.Dialer{KeepAlive: -1, FallbackDelay: -1}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, t.Network, address.String())
	if t.Network == "tcp" && errors.Is(err, syscall.ECONNRESET) {
		// Who refuses a SYN is reported as ECONNREFUSED (tcp_reset in Linux): this one has accepted, and reset at once.
		return result(start, controlapi.Connected, nil)
	}
	if err != nil {
		return result(start, classify(ctx, err), err)
	}
	defer func() { _ = conn.Close() }()
	if t.Network == "udp" {
		return ask(ctx, conn, start)
	}
	r := result(start, controlapi.Connected, nil)
	if t.Nonce != "" {
		r.Reply = tell(conn, t.Nonce)
	}
	return r
}

// check returns the target's address if it may be dialled.
func (d *Dialler) check(t *controlapi.Target) (netip.AddrPort, error) {
	address, err := netip.ParseAddrPort(t.Address)
	if err != nil {
		return address, fmt.Errorf("address: %q is not an IP address with a port", clipped(t.Address))
	}
	address = netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
	permitted := d.Permitted
	if permitted == nil {
		permitted = CheckHost
	}
	switch err := permitted(address.Addr()); {
	case err != nil:
		return address, fmt.Errorf("address: %s is %w and no address of a pod", address.Addr(), err)
	case !slices.Contains(d.Ports, address.Port()):
		return address, fmt.Errorf("address: %d is no port that is dialled: write one of %d", address.Port(), d.Ports)
	case t.Network != "tcp" && t.Network != "udp":
		return address, fmt.Errorf("network: %q: write tcp or udp", clipped(t.Network))
	case t.TimeoutMillis < 1 || t.TimeoutMillis > int(maxTimeout/time.Millisecond):
		return address, fmt.Errorf("timeoutMillis: %d: write 1 to %d", t.TimeoutMillis, maxTimeout/time.Millisecond)
	case !isNonce(t.Nonce):
		return address, fmt.Errorf("nonce: write at most %d letters and digits", controlapi.MaxNonce)
	}
	return address, nil
}

func isNonce(s string) bool {
	return len(s) <= controlapi.MaxNonce && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// tell sends the nonce and returns what comes back until the other side hangs
// up: whoever notes a nonce has noted it by then.
func tell(conn net.Conn, nonce string) string {
	if err := conn.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return ""
	}
	if _, err := io.WriteString(conn, controlapi.NonceCommand+" "+nonce+"\r\n"); err != nil {
		return ""
	}
	// An error is as good as an end: what came before it is the reply.
	text, _ := io.ReadAll(io.LimitReader(conn, controlapi.MaxReply))
	return strings.ToValidUTF8(strings.TrimRight(string(text), "\r\n"), "?")
}

// ask sends one datagram and waits for an answer.
func ask(ctx context.Context, conn net.Conn, start time.Time) controlapi.Result {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return failed(err)
	}
	if _, err := io.WriteString(conn, datagram); err != nil {
		return result(start, classify(ctx, err), err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return result(start, classify(ctx, err), err)
	}
	return result(start, controlapi.Answered, nil)
}

// classify names what an error of dialling means. A caller who gave up is no
// sign of the network's.
func classify(ctx context.Context, err error) controlapi.Outcome {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return controlapi.Failed
	case errors.Is(err, syscall.ECONNREFUSED),
		// A filter in the dialler's own network forbids it.
		errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return controlapi.Refused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return controlapi.Unreachable
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT),
		errors.Is(err, context.DeadlineExceeded):
		return controlapi.TimedOut
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return controlapi.TimedOut
	}
	return controlapi.Failed
}

func failed(err error) controlapi.Result {
	return controlapi.Result{Outcome: controlapi.Failed, Error: clipped(err.Error())}
}

func result(start time.Time, outcome controlapi.Outcome, err error) controlapi.Result {
	r := controlapi.Result{Outcome: outcome, Micros: time.Since(start).Microseconds()}
	if err != nil {
		r.Error = clipped(err.Error())
	}
	return r
}

func clipped(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxError)], "?")
}
